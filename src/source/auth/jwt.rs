//! The token that a GitHub App proves itself with, as GitHub documents it ("Generating a JSON Web Token (JWT) for a GitHub App"):
//! RS256 (RFC 7515, RFC 7518), issued a minute ago for clocks that differ, and of ten minutes at most.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::Secret;

/// How far back it was issued, and when it ends, in seconds from now.
const SPAN: (i64, i64) = (60, 540);

/// Signs the token of an App; what is wrong with the key otherwise.
pub(super) fn signed(app: &str, pem: &str, now: Timestamp) -> Result<Secret, &'static str> {
    let key = key(pem)?;
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(&serde_json::json!({"alg": "RS256", "typ": "JWT"}));
    let (issued, ends) = (now.as_second() - SPAN.0, now.as_second() + SPAN.1);
    let claims = encode(&serde_json::json!({"iat": issued, "exp": ends, "iss": app}));
    let mut token = format!("{header}.{claims}");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
        .map_err(|_| "it cannot sign")?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(Secret::new(token))
}

fn key(pem: &str) -> Result<KeyPair, &'static str> {
    const NOT_RSA: &str =
        "it is no RSA key of 2048 bits or more; write the private key that the App's page gave";
    if pem.contains("ENCRYPTED") {
        return Err("it is encrypted; write it as the App's page gave it");
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "it is no private key in PEM; write the one that the App's page gave")?;
    match &der {
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| NOT_RSA),
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| NOT_RSA),
        _ => Err(NOT_RSA),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_its_app_for_nine_minutes_and_verifies() {
        let key = KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for pem in super::super::testing::pems(&key) {
            let token = signed("Iv1.abc", &pem, now).unwrap();
            let (message, signature) = token.expose().rsplit_once('.').unwrap();
            let (header, claims) = message.split_once('.').unwrap();
            let decode = |part: &str| -> serde_json::Value {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            assert_eq!(decode(header), serde_json::json!({"alg": "RS256", "typ": "JWT"}));
            let (issued, ends) = (now.as_second() - 60, now.as_second() + 540);
            assert_eq!(decode(claims), serde_json::json!({"iss": "Iv1.abc", "iat": issued, "exp": ends}));
            super::super::testing::verify(&key, message, &URL_SAFE_NO_PAD.decode(signature).unwrap());
        }
    }

    #[test]
    fn another_key_says_what_to_write() {
        let now = Timestamp::UNIX_EPOCH;
        for (pem, why) in [
            ("canary", "no private key in PEM"),
            ("-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n", "no RSA key"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "encrypted",
            ),
            ("-----BEGIN EC PRIVATE KEY-----\nY2FuYXJ5\n-----END EC PRIVATE KEY-----\n", "no RSA key"),
        ] {
            let error = signed("1", pem, now).unwrap_err();
            assert!(error.contains(why) && !error.contains("canary"), "{error}");
        }
    }
}
