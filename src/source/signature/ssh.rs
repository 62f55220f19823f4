//! SSH signatures of commits: the format of OpenSSH's `PROTOCOL.sshsig`, keys and signatures of RFC 4253, 5656, 8332 and 8709, and
//! those of hardware keys from `PROTOCOL.u2f`.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256, Sha512};

use super::signers::Signer;
use super::{Refusal, quoted};

pub(super) const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
/// The namespace of what Git signs.
pub(super) const NAMESPACE: &str = "git";
const WANTED: &str =
    "ssh-ed25519, ecdsa-sha2-nistp256, -nistp384, -nistp521, or rsa-sha2-512 with 2048 to 8192 bits";

/// Fields of the SSH wire format (RFC 4251, section 5), read from the front. Nothing is copied.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    /// A positive number without its sign byte.
    fn mpint(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [0, rest @ ..] if !rest.is_empty() => Some(rest),
            [first, ..] if *first >= 0x80 => None,
            [] => None,
            all => Some(all),
        }
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"nistp256" => Self::P256,
            b"nistp384" => Self::P384,
            b"nistp521" => Self::P521,
            _ => return None,
        })
    }

    fn algorithm(self) -> (&'static EcdsaVerificationAlgorithm, usize) {
        match self {
            Self::P256 => (&ECDSA_P256_SHA256_FIXED, 32),
            Self::P384 => (&ECDSA_P384_SHA384_FIXED, 48),
            Self::P521 => (&ECDSA_P521_SHA512_FIXED, 66),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Ed25519(Vec<u8>),
    Ecdsa(Curve, Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An Ed25519 key in a hardware token, with its application.
    Hardware(Vec<u8>, Vec<u8>),
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    blob: Vec<u8>,
    algorithm: String,
    kind: Kind,
}

impl PublicKey {
    /// Reads the second and third word of a line of `allowed_signers`.
    pub(super) fn parse(algorithm: &str, base64: &str) -> Result<Self, String> {
        let blob = STANDARD.decode(base64).map_err(|_| "the key is not base64".to_owned())?;
        let mut wire = Wire(&blob);
        if wire.string() != Some(algorithm.as_bytes()) {
            return Err(format!("the key is not one of the type {algorithm}"));
        }
        let unknown = || format!("keys of the type {algorithm} are not accepted: use {WANTED}");
        let kind = kind(algorithm, &mut wire).ok_or_else(unknown)?;
        Ok(Self { algorithm: algorithm.to_owned(), kind, blob })
    }

    /// The fingerprint as `ssh-keygen -l` shows it.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    /// Tells whether a signature of the wire format fits a message. `None`: it does not, or is none of this key.
    fn verify(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let mut wire = Wire(signature);
        let algorithm = wire.string()?;
        let bytes = wire.string()?;
        match &self.kind {
            Kind::Ed25519(key) if algorithm == self.algorithm.as_bytes() => {
                wire.end()?;
                UnparsedPublicKey::new(&ED25519, key).verify(message, bytes).ok()
            }
            Kind::Ecdsa(curve, point) if algorithm == self.algorithm.as_bytes() => {
                wire.end()?;
                let (method, width) = curve.algorithm();
                let mut parts = Wire(bytes);
                let mut fixed = padded(parts.mpint()?, width)?;
                fixed.extend(padded(parts.mpint()?, width)?);
                parts.end()?;
                UnparsedPublicKey::new(method, point).verify(message, &fixed).ok()
            }
            Kind::Rsa { n, e } => {
                wire.end()?;
                let method = match algorithm {
                    b"rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    b"rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                    _ => return None,
                };
                RsaPublicKeyComponents { n, e }.verify(method, message, &padded(bytes, n.len())?).ok()
            }
            Kind::Hardware(key, application) if algorithm == self.algorithm.as_bytes() => {
                let state = wire.take(5)?;
                wire.end()?;
                // Bit 0: somebody touched the token.
                state.first().filter(|flags| *flags & 1 == 1)?;
                let parts = [&Sha256::digest(application)[..], state, &Sha256::digest(message)[..]];
                UnparsedPublicKey::new(&ED25519, key).verify(&parts.concat(), bytes).ok()
            }
            _ => None,
        }
    }
}

fn kind(algorithm: &str, wire: &mut Wire<'_>) -> Option<Kind> {
    let key = |wire: &mut Wire<'_>| wire.string().filter(|key| key.len() == 32).map(<[u8]>::to_vec);
    let kind = match algorithm {
        "ssh-ed25519" => Kind::Ed25519(key(wire)?),
        "sk-ssh-ed25519@openssh.com" => Kind::Hardware(key(wire)?, wire.string()?.to_vec()),
        "ssh-rsa" => {
            let (e, n) = (wire.mpint()?.to_vec(), wire.mpint()?.to_vec());
            (256..=1024).contains(&n.len()).then_some(Kind::Rsa { n, e })?
        }
        _ => {
            let curve = wire.string()?;
            if algorithm.strip_prefix("ecdsa-sha2-")?.as_bytes() != curve {
                return None;
            }
            Kind::Ecdsa(Curve::named(curve)?, wire.string()?.to_vec())
        }
    };
    wire.end()?;
    Some(kind)
}

/// Fills a number up to a width with leading zeros.
fn padded(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; width.checked_sub(number.len())?];
    bytes.extend_from_slice(number);
    Some(bytes)
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// Checks an armored signature.
pub(super) fn check(payload: &[u8], armor: &str, allowed: &[Signer], now: Timestamp) -> Result<(), Refusal> {
    let bytes = unarmored(armor).ok_or(Refusal::Form("its armor is broken"))?;
    let signature = Signature::parse(&bytes).ok_or(Refusal::Form("it is no SSH signature"))?;
    if signature.namespace != NAMESPACE.as_bytes() {
        return Err(Refusal::Namespace(quoted(signature.namespace)));
    }
    let fingerprint = fingerprint(signature.key);
    let mut known = allowed.iter().filter(|signer| signer.key.blob == signature.key).peekable();
    let Some(first) = known.peek() else { return Err(Refusal::Unknown(fingerprint)) };
    let message = signature.message(payload)?;
    first.key.verify(&message, signature.bytes).ok_or(Refusal::Changed(fingerprint))?;
    // A key may stand in several lines: one that allows it is enough, else the last one's reason is told.
    let mut answer = Err(Refusal::NotSigned);
    for signer in known {
        answer = signer.permits(now);
        if answer.is_ok() {
            break;
        }
    }
    answer
}

fn unarmored(armor: &str) -> Option<Vec<u8>> {
    let body = armor.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let text: String = body.split(['\r', '\n']).collect();
    STANDARD.decode(text).ok()
}

/// The fields of a signature.
struct Signature<'a> {
    key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Signature<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut wire = Wire(bytes.strip_prefix(MAGIC)?);
        if wire.number()? != 1 {
            return None;
        }
        let [key, namespace, reserved, hash, bytes] =
            [wire.string()?, wire.string()?, wire.string()?, wire.string()?, wire.string()?];
        wire.end()?;
        Some(Self { key, namespace, reserved, hash, bytes })
    }

    /// Returns what was really signed for a payload.
    fn message(&self, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        let digest = match self.hash {
            b"sha256" => Sha256::digest(payload).to_vec(),
            b"sha512" => Sha512::digest(payload).to_vec(),
            other => {
                return Err(Refusal::Algorithm(format!("the hash {}", quoted(other)), "sha512 or sha256"));
            }
        };
        let mut message = MAGIC.to_vec();
        for field in [self.namespace, self.reserved, self.hash, &digest[..]] {
            let length = u32::try_from(field.len()).map_err(|_| Refusal::TooLarge)?;
            message.extend(length.to_be_bytes());
            message.extend_from_slice(field);
        }
        Ok(message)
    }
}
