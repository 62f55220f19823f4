//! For tests: draws SSH keys and signs commits as `git commit -S` does with them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};

pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

pub(crate) fn number(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap();
    let sign: &[u8] = if bytes[first] >= 0x80 { &[0] } else { &[] };
    field(&[sign, &bytes[first..]].concat())
}

/// A key pair as OpenSSH has them; `Hardware` with the flags that its token reports, `Rsa` with the name of its algorithm.
pub(crate) enum Pair {
    Ed25519(Ed25519KeyPair),
    Hardware(Ed25519KeyPair, u8),
    P256(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>, &'static str),
}

impl Pair {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ssh-ed25519",
            Self::Hardware(..) => "sk-ssh-ed25519@openssh.com",
            Self::P256(_) => "ecdsa-sha2-nistp256",
            Self::Rsa(..) => "ssh-rsa",
        }
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        let rest = match self {
            Self::Ed25519(pair) => field(pair.public_key().as_ref()),
            Self::Hardware(pair, _) => [field(pair.public_key().as_ref()), field(b"ssh:")].concat(),
            Self::P256(pair) => [field(b"nistp256"), field(pair.public_key().as_ref())].concat(),
            // The key is DER: two headers, then 256 bytes of modulus, then the exponent 65537.
            Self::Rsa(pair, _) => [number(&[1, 0, 1]), number(&pair.public_key().as_ref()[9..265])].concat(),
        };
        [field(self.algorithm().as_bytes()), rest].concat()
    }

    pub(crate) fn line(&self, options: &str) -> String {
        format!(
            "alice@example.com {options} {} {} a comment\n",
            self.algorithm(),
            STANDARD.encode(self.blob())
        )
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(pair) => [field(b"ssh-ed25519"), field(pair.sign(message).as_ref())].concat(),
            Self::Hardware(pair, flags) => {
                let state = [*flags, 0, 0, 0, 7];
                let parts = [&Sha256::digest(b"ssh:")[..], &state, &Sha256::digest(message)[..]].concat();
                let name = field(self.algorithm().as_bytes());
                [name, field(pair.sign(&parts).as_ref()), state.to_vec()].concat()
            }
            Self::P256(pair) => {
                let fixed = pair.sign(&random, message).unwrap();
                let (r, s) = fixed.as_ref().split_at(32);
                let name = field(self.algorithm().as_bytes());
                [name, field(&[number(r), number(s)].concat())].concat()
            }
            Self::Rsa(pair, name) => {
                let method = if *name == "rsa-sha2-256" { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA512 };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(method, &random, message, &mut bytes).unwrap();
                [field(name.as_bytes()), field(&bytes)].concat()
            }
        }
    }

    pub(crate) fn sign(&self, payload: impl AsRef<[u8]>, namespace: &str, hash: &str) -> String {
        let payload = payload.as_ref();
        let digest = match hash {
            "sha256" => Sha256::digest(payload).to_vec(),
            _ => Sha512::digest(payload).to_vec(),
        };
        let head = [field(namespace.as_bytes()), field(b""), field(hash.as_bytes())].concat();
        let message = [b"SSHSIG", &head[..], &field(&digest)].concat();
        let all = [b"SSHSIG\0\0\0\x01", &field(&self.blob())[..], &head, &field(&self.signature(&message))];
        armored(&all.concat())
    }

    /// Signs a commit object that is not signed.
    pub(crate) fn signed(&self, payload: &[u8]) -> Vec<u8> {
        with(payload, &self.sign(payload, "git", "sha512"))
    }
}

/// Puts a signature into the header of a commit, as Git writes it.
pub(crate) fn with(payload: &[u8], armor: &str) -> Vec<u8> {
    let payload = std::str::from_utf8(payload).unwrap();
    let (head, message) = payload.split_once("\n\n").unwrap();
    format!("{head}\ngpgsig {}\n\n{message}", armor.trim_end().replace('\n', "\n ")).into_bytes()
}

pub(crate) fn armored(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("{}\n{}\n-----END SSH SIGNATURE-----\n", super::ssh::BEGIN, lines.join("\n"))
}
