//! Signatures of both kinds on commits that are made here: keys of SSH are drawn anew in each run, those of `OpenPGP` and what they
//! signed were made by `GnuPG` 2.2 with its clock set back, and stand in `testdata`.

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::testing::{Pair, armored, field, number};
use super::*;

const PAYLOAD: &str = include_str!("testdata/commit");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-03-01T00:00:00Z")
}

fn with(armor: &str) -> Vec<u8> {
    testing::with(PAYLOAD.as_bytes(), armor)
}

fn allowed(files: &[&str]) -> Allowed {
    let mut allowed = Allowed::default();
    for file in files {
        allowed.add(file).unwrap();
    }
    allowed
}

fn told(answer: Result<(), Refusal>) -> String {
    answer.map_or_else(|refusal| refusal.to_string(), |()| "good".to_owned())
}

#[test]
fn every_kind_of_ssh_key_can_sign() {
    let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap().into();
    let hardware = |flags| Pair::Hardware(Ed25519KeyPair::generate().unwrap(), flags);
    let pairs = [
        Pair::ed25519(),
        hardware(5),
        Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
        Pair::Rsa(rsa(), "rsa-sha2-256"),
        Pair::Rsa(rsa(), "rsa-sha2-512"),
    ];
    for pair in &pairs {
        let allowed = allowed(&[&format!("# the team\n\n{}", pair.line(""))]);
        for hash in ["sha256", "sha512"] {
            let raw = with(&pair.sign(PAYLOAD, "git", hash));
            assert_eq!(told(allowed.check(&raw, now())), "good", "{}", pair.algorithm());
            let changed = String::from_utf8(raw).unwrap().replace("Change files", "Change more");
            let text = told(allowed.check(changed.as_bytes(), now()));
            assert!(text.contains("it was changed afterwards"), "{text}");
        }
    }
    for (what, pair) in [("nobody touched it", hardware(4)), ("SHA-1", Pair::Rsa(rsa(), "ssh-rsa"))] {
        let text = told(allowed(&[&pair.line("")]).check(&with(&pair.sign(PAYLOAD, "git", "sha512")), now()));
        assert!(text.contains("it was changed afterwards"), "{what}: {text}");
    }
}

#[test]
fn an_ssh_signature_is_taken_only_from_a_key_that_is_allowed_now_for_commits() {
    let (pair, other) = (Pair::ed25519(), Pair::ed25519());
    let good = with(&pair.sign(PAYLOAD, "git", "sha512"));
    for (options, reason) in [
        ("namespaces=\"git\"", "good"),
        ("namespaces=\"file,g?t\"", "good"),
        ("namespaces=\"*,!git\"", "namespaces= does not allow for git"),
        ("namespaces=\"file\"", "namespaces= does not allow for git"),
        ("valid-after=\"20260228\",valid-before=\"20260302Z\"", "good"),
        ("valid-before=20260228235959Z", "which expired at 2026-02-28T23:59:59Z: sign with a valid key"),
        ("valid-after=202603010001", "which is valid only from 2026-03-01T00:01:00Z"),
        ("Valid-After=\"20260302\",namespaces=\"git\"", "which is valid only from 2026-03-02T00:00:00Z"),
    ] {
        let text = told(allowed(&[&pair.line(options)]).check(&good, now()));
        assert!(text.contains(reason), "{options}: {text}");
    }
    let text = told(allowed(&[&other.line("")]).check(&good, now()));
    let key = signers::parse(&pair.line("")).unwrap().remove(0).key.fingerprint();
    assert!(text.contains(&format!("is signed by an unknown key {key}: sign with an allowed key")), "{text}");
    let twice = format!("{}{}", pair.line("valid-before=20260101"), pair.line(""));
    assert_eq!(told(allowed(&[&other.line(""), &twice]).check(&good, now())), "good");
}

#[test]
fn what_is_no_ssh_signature_of_this_commit_is_refused_with_the_reason() {
    let pair = Pair::ed25519();
    let allowed = allowed(&[&pair.line("")]);
    let good = pair.sign(PAYLOAD, "git", "sha512");
    let broken = |at: usize, byte: u8| {
        let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
        let mut bytes = STANDARD.decode(body).unwrap();
        bytes[at] ^= byte;
        armored(&bytes)
    };
    for (armor, reason) in [
        (good.clone(), "good"),
        (pair.sign(PAYLOAD, "file", "sha512"), "is signed for \"file\", not as a commit"),
        (pair.sign(PAYLOAD, "git", "md5"), "the hash \"md5\""),
        (pair.sign("another commit", "git", "sha512"), "was changed afterwards"),
        (broken(9, 3), "it is no SSH signature"),
        (broken(13, 64), "it is no SSH signature"),
        (broken(40, 1), "unknown key"),
        (format!("{good}{good}"), "there are two"),
        (format!("{good}trailing"), "its armor is broken"),
        (good.replace("-----END", "----END"), "its armor is broken"),
        (format!("{}\n-----END SSH SIGNATURE-----", ssh::BEGIN), "it is no SSH signature"),
        (
            "-----BEGIN SIGNED MESSAGE-----\nx\n-----END SIGNED MESSAGE-----".to_owned(),
            "is signed with X.509",
        ),
        ("garbage \u{7} and more".to_owned(), "it is neither GPG nor SSH"),
        (format!("{}\n{}", ssh::BEGIN, "A\n".repeat(40_000)), "more than 64 KiB"),
        (armored(&[b"SSHSIG\0\0\0\x01", &[0xff; 40][..]].concat()), "it is no SSH signature"),
    ] {
        let text = told(allowed.check(&with(&armor), now()));
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let stripped = told(allowed.check(PAYLOAD.as_bytes(), now()));
    assert_eq!(
        stripped,
        "is not signed: sign it with an allowed key (git commit --amend -S) and push it again"
    );
}

#[test]
fn a_file_of_keys_is_used_whole_or_not_at_all() {
    let pair = Pair::ed25519();
    let (line, key) = (pair.line(""), STANDARD.encode(pair.blob()));
    let short = [field(b"ssh-rsa"), number(&[1, 0, 1]), number(&[0xc1; 128])].concat();
    for (text, reason) in [
        (String::new(), "there is no key in it"),
        ("# nothing\n".to_owned(), "there is no key in it"),
        (format!("{line}alice\n"), "line 2: write NAME [OPTIONS] TYPE KEY"),
        (format!("alice ssh-rsa {key}"), "line 1: the key is not one of the type ssh-rsa"),
        (format!("alice ssh-rsa {}", STANDARD.encode(short)), "keys of the type ssh-rsa are not accepted"),
        ("alice ssh-ed25519 ???".to_owned(), "the key is not base64"),
        (format!("alice ssh-ed25519 {}", STANDARD.encode(field(b"ssh-ed25519"))), "are not accepted"),
        (format!("alice cert-authority ssh-ed25519 {key}"), "cert-authority is not supported"),
        (format!("alice no-touch-required ssh-ed25519 {key}"), "there is no option \"no-touch-required\""),
        (format!("alice valid-before=soon ssh-ed25519 {key}"), "\"soon\" is not a time"),
        (format!("alice valid-before=20261301 ssh-ed25519 {key}"), "is not a time"),
        (format!("alice valid-before=2026,valid-before=2027 ssh-ed25519 {key}"), "is not a time"),
        (format!("alice namespaces=\"git,namespaces=x ssh-ed25519 {key}"), "quotation mark"),
        (format!("alice namespaces=a,namespaces=git ssh-ed25519 {key}"), "stands there twice"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n".to_owned(), "block 1: here stands something else"),
        (
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----".to_owned(),
            "block 1: ",
        ),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n".to_owned(), ""),
    ] {
        let text = Allowed::default().add(&text).expect_err(&text).to_string();
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let quoted = format!("\"alice a, bob\" namespaces=\"git\" ssh-ed25519 {key}");
    assert!(Allowed::default().add(&quoted).is_ok());
}

#[test]
fn openpgp_keys_and_what_they_signed_are_judged() {
    let alice = include_str!("testdata/alice.asc");
    let revoked_part = include_str!("testdata/alice-subkey-revoked.asc");
    let (carol, dave) = (include_str!("testdata/carol-revoked.asc"), include_str!("testdata/dave.asc"));
    let erin = include_str!("testdata/erin.asc");
    // Frank named a revoker, in a newer word of the key itself that says nothing of its end; Grace's key may only certify.
    let frank = include_str!("testdata/frank.asc");
    let grace = include_str!("testdata/grace.asc");
    let (primary, part) = (include_str!("testdata/primary.sig"), include_str!("testdata/subkey.sig"));
    let (rsa, short) = (include_str!("testdata/rsa.sig"), include_str!("testdata/short.sig"));
    let expiring = include_str!("testdata/expiring.sig");
    let later = "2026-03-01T00:00:00Z";
    for (keys, signature, time, reason) in [
        (alice, primary, later, "good"),
        (alice, part, later, "good"),
        (erin, rsa, later, "good"),
        (alice, include_str!("testdata/unknown.sig"), later, "is signed by an unknown key "),
        (erin, part, later, "is signed by an unknown key "),
        (dave, short, later, "is signed with the RSA key "),
        (carol, include_str!("testdata/revoked.sig"), later, "which is revoked"),
        (revoked_part, primary, later, "good"),
        (revoked_part, part, later, "which is revoked"),
        (alice, include_str!("testdata/sha1.sig"), later, "is signed with the hash SHA1"),
        (alice, include_str!("testdata/text.sig"), later, "it is not one over a file"),
        (alice, primary, "2026-12-31T00:00:00Z", "good"),
        (alice, part, "2026-12-31T00:00:00Z", "which expired at 2026-"),
        (alice, primary, "2027-01-02T00:00:00Z", "which expired at 2027-01-01T00:00:00Z"),
        (alice, primary, "2025-12-31T00:00:00Z", "has no valid name"),
        (alice, primary, "2026-01-31T00:00:00Z", "is from the future, 2026-02-01T00:00:00Z"),
        (frank, include_str!("testdata/revoker.sig"), later, "good"),
        (frank, include_str!("testdata/revoker.sig"), "2027-01-02T00:00:00Z", "which expired at 2027-01-01"),
        (grace, include_str!("testdata/certify-only.sig"), later, "which may not sign"),
        (alice, expiring, "2026-02-10T00:00:00Z", "good"),
        (alice, expiring, later, "expired at 2026-02-11T00:00:00Z"),
    ] {
        let text = told(allowed(&[keys]).check(&with(signature), at(time)));
        assert!(text.contains(reason), "{reason} at {time}: {text}");
    }
    let all = allowed(&[&[carol, alice, erin].concat(), &Pair::ed25519().line("")]);
    for (signature, from, to, reason) in [
        (part, "", "", "good"),
        (part, "Change files", "Change more", "was changed afterwards"),
        (rsa, "Change files", "Change more", "was changed afterwards"),
        (primary, "-----END PGP", "-----END GPG", "it is no OpenPGP signature"),
    ] {
        let raw = String::from_utf8(with(signature)).unwrap().replace(from, to);
        let raw = if from.is_empty() { with(signature) } else { raw.into_bytes() };
        let text = told(all.check(&raw, now()));
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let text = told(all.check(&with(&format!("{primary}{part}")), now()));
    assert!(text.contains("there are two"), "{text}");
    let text = told(all.check(&with(alice), now()));
    assert!(text.contains("neither GPG nor SSH"), "{text}");
}

#[test]
fn what_ssh_keygen_signs_is_good() {
    use std::process::{Command, Stdio};
    if Command::new("ssh-keygen").arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED what_ssh_keygen_signs_is_good: there is no ssh-keygen");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("ssh-keygen").args(arguments).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for (name, kind, bits) in [
        ("a", "ed25519", "256"),
        ("b", "ecdsa", "256"),
        ("c", "ecdsa", "384"),
        ("d", "ecdsa", "521"),
        ("e", "rsa", "3072"),
    ] {
        let path = dir.path().join("commit");
        std::fs::write(&path, PAYLOAD).unwrap();
        run(&["-q", "-t", kind, "-b", bits, "-N", "", "-f", name]);
        run(&["-q", "-Y", "sign", "-n", "git", "-f", name, "commit"]);
        let line = std::fs::read_to_string(dir.path().join(format!("{name}.pub"))).unwrap();
        let allowed = allowed(&[&format!("alice@example.com namespaces=\"git\" {line}")]);
        let armor = std::fs::read_to_string(dir.path().join("commit.sig")).unwrap();
        assert_eq!(told(allowed.check(&with(&armor), now())), "good", "{kind} {bits}");
        std::fs::remove_file(dir.path().join("commit.sig")).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_that_is_broken_is_good_and_nothing_panics(
        at in 0_usize..900, byte in 1_u8.., cut in 0_usize..900, which in 0_usize..3, noise in ".{0,200}",
    ) {
        let pgp = [include_str!("testdata/primary.sig"), include_str!("testdata/subkey.sig"), include_str!("testdata/rsa.sig")];
        let keys = [include_str!("testdata/alice.asc"), include_str!("testdata/erin.asc")];
        let allowed = allowed(&keys);
        let mut raw = with(pgp[which]);
        let at = at % raw.len();
        raw[at] ^= byte;
        let _ = allowed.check(&raw, now());
        let _ = allowed.check(&raw[..cut % raw.len()], now());
        prop_assert!(allowed.check(&with(&noise), now()).is_err());
        let mut file = keys[which % 2].as_bytes().to_vec();
        let at = at % file.len();
        file[at] ^= byte;
        let _ = Allowed::default().add(&String::from_utf8_lossy(&file));
        let _ = Allowed::default().add(&noise);
        let _ = Allowed::default().add(&format!("a {noise} ssh-ed25519 AAAA"));
    }
}
