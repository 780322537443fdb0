//! Checksums of files that are too large for memory.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// The SHA-256 of everything that can be read, in hexadecimal digits.
pub(crate) fn sha256(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(data_encoding::HEXLOWER.encode(&hash.finalize())),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_whole() {
        let million = vec![b'a'; 1_000_000];
        assert_eq!(
            sha256(&mut million.as_slice()).unwrap(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
    }
}
