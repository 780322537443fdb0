//! Random values. `rand::rng` is a CSPRNG seeded by the operating system.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{
    Rng as _,
    distr::{Alphanumeric, SampleString as _},
};

/// A password of `length` letters and digits, which need no encoding in a
/// connection string.
pub(crate) fn password(length: u32) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length as usize)
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
