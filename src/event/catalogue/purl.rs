//! Package URLs of images, as the purl specification's type `oci` has them.

use std::fmt::Write as _;

use crate::model::image::Image;

/// Percent-encodes everything that RFC 3986 does not call unreserved.
pub fn encode(text: &str) -> String {
    encode_but(text, "")
}

fn encode_but(text: &str, keep: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || keep.contains(c) {
            encoded.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns `pkg:oci/<name>@sha256%3A…?repository_url=<registry>/<path>&tag=<tag>`: the name is the repository's last part in lower
/// case, the version its digest, the qualifiers in the order of their names.
pub fn purl(image: &Image) -> String {
    let name = image.repository.rsplit('/').next().unwrap_or_default().to_lowercase();
    let mut text = format!(
        "pkg:oci/{}@{}?repository_url={}",
        encode(&name),
        encode(image.digest.as_str()),
        encode_but(&image.repository, "/:")
    );
    if let Some(tag) = &image.tag {
        text.push_str("&tag=");
        text.push_str(&encode(tag));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_digest_and_says_where_it_was_found() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        let image = Image {
            repository: "registry.example.com:5000/team/Hello".into(),
            tag: Some("v1+x".into()),
            digest: digest.parse().unwrap(),
        };
        assert_eq!(
            purl(&image),
            format!(
                "pkg:oci/hello@sha256%3A{}?repository_url=registry.example.com:5000/team/Hello&tag=v1%2Bx",
                "a1".repeat(32)
            )
        );
        let untagged = Image { tag: None, ..image };
        assert!(purl(&untagged).ends_with("/team/Hello"), "{}", purl(&untagged));
    }
}
