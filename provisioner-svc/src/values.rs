//! Random values. `rand::rng` is a CSPRNG seeded by the operating system.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{Rng as _, RngExt as _};

/// URL-safe, so that it needs no encoding in a connection string.
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A password of `length` letters and digits.
pub(crate) fn password(length: u32) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// `bytes` random bytes in base64.
pub(crate) fn key(bytes: u32) -> String {
    let mut raw = vec![0_u8; bytes as usize];
    rand::rng().fill_bytes(&mut raw);
    STANDARD.encode(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_length_and_differ() {
        assert_eq!(password(32).len(), 32);
        assert_ne!(password(32), password(32));
        assert!(
            password(200)
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
        );
        // mongod reads at most 1024 characters of a keyfile.
        assert_eq!(key(756).len(), 1008);
    }
}
