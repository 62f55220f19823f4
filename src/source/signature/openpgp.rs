//! `OpenPGP` signatures of commits, and the keys that may make them (RFC 9580). The arithmetic and the packets are `pgp`'s, which
//! leaves the judgement of a key to its user: that is here.

use jiff::Timestamp;
use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, KeyVersion, Tag, VerifyingKey};

use super::{KeysError, PUBLIC_KEY, Refusal};

/// How far ahead of ours a signer's clock may be, in seconds.
const CLOCK_SKEW: i64 = 300;
/// The shortest RSA key that is accepted, in bits.
const RSA_BITS: u16 = 2048;
const WANTED: &str = "Ed25519, ECDSA, or RSA with 2048 bits or more, over SHA-256 or SHA-512";

/// An allowed key with its subkeys.
#[derive(Debug)]
pub(super) struct Key(SignedPublicKey);

/// Reads every armored block of a file.
pub(super) fn keys(text: &str) -> Result<Vec<Key>, KeysError> {
    let mut keys = Vec::new();
    for (index, block) in text.split("-----BEGIN ").enumerate().skip(1) {
        let broken = |why: String| KeysError::Block(format!("block {index}: {why}"));
        let armor = format!("-----BEGIN {block}");
        if !armor.starts_with(PUBLIC_KEY) {
            return Err(broken(format!("here stands something else than {PUBLIC_KEY}")));
        }
        let (found, _) = SignedPublicKey::from_armor_many_buf(armor.as_bytes())
            .map_err(|error| broken(error.to_string()))?;
        for key in found {
            keys.push(Key(key.map_err(|error| broken(error.to_string()))?));
        }
    }
    Ok(keys)
}

/// Checks an armored signature.
pub(super) fn check(payload: &[u8], armor: &str, allowed: &[Key], now: Timestamp) -> Result<(), Refusal> {
    let signature = one(armor)?;
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(Refusal::Form("it is not one over a file"));
    }
    let strong = [
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
        HashAlgorithm::Sha3_256,
        HashAlgorithm::Sha3_512,
    ];
    let hash = signature.hash_alg().unwrap_or(HashAlgorithm::None);
    if !strong.contains(&hash) {
        return Err(Refusal::Algorithm(format!("the hash {hash}"), WANTED));
    }
    let mut answer = Err(Refusal::Unknown(issuer(&signature)));
    for key in allowed {
        match key.check(&signature, payload, now) {
            None => {}
            Some(Ok(())) => return Ok(()),
            Some(Err(refusal)) => answer = Err(refusal),
        }
    }
    answer
}

fn one(armor: &str) -> Result<Signature, Refusal> {
    let broken = |_| Refusal::Form("it is no OpenPGP signature");
    let (mut found, _) = DetachedSignature::from_armor_many_buf(armor.as_bytes()).map_err(broken)?;
    let first = found.next().ok_or(Refusal::Form("there is none in its armor"))?.map_err(broken)?;
    if found.next().is_some() {
        return Err(Refusal::Form("there are two"));
    }
    Ok(first.signature)
}

/// What a signature says about its maker: the fingerprint, else the key's id.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "that it does not name".to_owned())
}

fn named(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().iter().any(|fingerprint| **fingerprint == key.fingerprint())
        || signature.issuer_key_id().iter().any(|id| **id == key.legacy_key_id())
}

impl Key {
    /// Judges a signature. `None`: it is by none of this key's parts.
    fn check(&self, signature: &Signature, payload: &[u8], now: Timestamp) -> Option<Result<(), Refusal>> {
        if named(signature, &self.0.primary_key) {
            return Some(self.by_primary(signature, payload, now));
        }
        let part = self.0.public_subkeys.iter().find(|part| named(signature, &part.key))?;
        Some(self.by_part(part, signature, payload, now))
    }

    fn by_primary(&self, signature: &Signature, payload: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let key = &self.0.primary_key;
        fits(key, signature, payload)?;
        if !self.valid(now)?.iter().any(|binding| binding.key_flags().sign()) {
            return Err(Refusal::Unfit(self.name(), "may not sign"));
        }
        strong(key)?;
        timely(key, signature, now)
    }

    fn by_part(
        &self,
        part: &SignedPublicSubKey,
        signature: &Signature,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let key = &part.key;
        fits(key, signature, payload)?;
        self.valid(now)?;
        let name = fingerprint(key);
        if part.signatures.iter().any(|found| found.typ() == Some(SignatureType::SubkeyRevocation)) {
            return Err(Refusal::Unfit(name, "is revoked"));
        }
        let bindings = part.signatures.iter().filter(|found| {
            found.typ() == Some(SignatureType::SubkeyBinding)
                && found.verify_subkey_binding(&self.0.primary_key, key).is_ok()
        });
        let binding = newest(bindings, now)
            .ok_or_else(|| Refusal::Unfit(name.clone(), "is not bound to its primary key"))?;
        // The part itself must have agreed to sign for this key (RFC 9580, 5.2.1.6).
        let agreed = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(key, &self.0.primary_key).is_ok());
        if !binding.key_flags().sign() || !agreed {
            return Err(Refusal::Unfit(name, "may not sign"));
        }
        alive(key, binding, now)?;
        strong(key)?;
        timely(key, signature, now)
    }

    /// Checks the key as a whole, and returns the newest that it says of itself: as a key, and under a name. Either may hold its end
    /// and what it may do, and one that says nothing of it does not lift what the other says.
    fn valid(&self, now: Timestamp) -> Result<Vec<&Signature>, Refusal> {
        let key = &self.0.primary_key;
        // Who revoked it is not asked: the file is the operator's, and nobody writes that into it by mistake.
        if !self.0.details.revocation_signatures.is_empty() {
            return Err(Refusal::Unfit(self.name(), "is revoked"));
        }
        let direct = self.0.details.direct_signatures.iter();
        let direct =
            direct.filter(|found| found.typ() == Some(SignatureType::Key) && found.verify_key(key).is_ok());
        let users = self.0.details.users.iter().flat_map(|user| {
            let own = user.signatures.iter().filter(|found| {
                named(found, key) && found.verify_certification(key, Tag::UserId, &user.id).is_ok()
            });
            let own: Vec<&Signature> = own.collect();
            let revoked = own.iter().any(|found| found.typ() == Some(SignatureType::CertRevocation));
            if revoked { Vec::new() } else { own }
        });
        let bindings: Vec<_> = newest(direct, now).into_iter().chain(newest(users, now)).collect();
        if bindings.is_empty() {
            return Err(Refusal::Unfit(self.name(), "has no valid name or property of its own"));
        }
        for binding in &bindings {
            alive(key, binding, now)?;
        }
        Ok(bindings)
    }

    fn name(&self) -> String {
        fingerprint(&self.0.primary_key)
    }
}

fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn fits(key: &impl VerifyingKey, signature: &Signature, payload: &[u8]) -> Result<(), Refusal> {
    signature.verify(key, payload).map_err(|_| Refusal::Changed(fingerprint(key)))
}

fn time(stamp: pgp::types::Timestamp) -> Timestamp {
    Timestamp::from_second(i64::from(stamp.as_secs())).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The end of a span that begins at a time; zero is no span (RFC 9580, 5.2.3.13).
fn end(from: pgp::types::Timestamp, span: Option<Duration>) -> Option<Timestamp> {
    let span = span.map(Duration::as_secs).filter(|span| *span > 0)?;
    Timestamp::from_second(i64::from(from.as_secs()) + i64::from(span)).ok()
}

/// Returns the newest of some signatures that are verified already and hold now.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: Timestamp) -> Option<&'a Signature> {
    let holds = |found: &&Signature| {
        found.created().is_some_and(|created| {
            time(created) <= now
                && end(created, found.signature_expiration_time()).is_none_or(|end| now <= end)
        })
    };
    signatures.filter(holds).max_by_key(|found| found.created().map(pgp::types::Timestamp::as_secs))
}

/// Checks the time in which a key is valid, as its binding says.
fn alive(key: &impl KeyDetails, binding: &Signature, now: Timestamp) -> Result<(), Refusal> {
    let from = time(key.created_at());
    match end(key.created_at(), binding.key_expiration_time()) {
        _ if now < from => Err(Refusal::NotYet(fingerprint(key), from)),
        Some(end) if now > end => Err(Refusal::Expired(fingerprint(key), end)),
        _ => Ok(()),
    }
}

/// Checks the times of the signature itself.
fn timely(key: &impl KeyDetails, signature: &Signature, now: Timestamp) -> Result<(), Refusal> {
    let Some(created) = signature.created() else { return Err(Refusal::Form("it has no time")) };
    let at = time(created);
    if at.as_second() > now.as_second() + CLOCK_SKEW {
        return Err(Refusal::Time(fingerprint(key), "is from the future,", at));
    }
    if at < time(key.created_at()) {
        return Err(Refusal::Time(fingerprint(key), "is older than the key,", at));
    }
    match end(created, signature.signature_expiration_time()) {
        Some(end) if now > end => Err(Refusal::Time(fingerprint(key), "expired at", end)),
        _ => Ok(()),
    }
}

/// Refuses keys that can be forged today.
fn strong(key: &(impl KeyDetails + Serialize)) -> Result<(), Refusal> {
    let strong = match key.algorithm() {
        PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign => {
            rsa_bits(key).is_some_and(|bits| bits >= RSA_BITS)
        }
        PublicKeyAlgorithm::ECDSA
        | PublicKeyAlgorithm::EdDSALegacy
        | PublicKeyAlgorithm::Ed25519
        | PublicKeyAlgorithm::Ed448 => true,
        _ => false,
    };
    if strong {
        return Ok(());
    }
    Err(Refusal::Algorithm(format!("the {:?} key {}", key.algorithm(), fingerprint(key)), WANTED))
}

/// Reads the length of the modulus, which is the first number of the key's material (RFC 9580, 5.5.2).
fn rsa_bits(key: &(impl KeyDetails + Serialize)) -> Option<u16> {
    let at = match key.version() {
        KeyVersion::V4 => 6,
        KeyVersion::V6 => 10,
        _ => return None,
    };
    let body = key.to_bytes().ok()?;
    Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?))
}
