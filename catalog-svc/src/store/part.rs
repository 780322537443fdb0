//! A bundle as a row of parts, each small enough for one ConfigMap.
//!
//! The bytes are cut first and each piece is compressed by itself. So a part is
//! decided by digest and number alone: two replicas, even of different
//! versions, may each write some of the parts.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

/// Bytes in a part before compression. A ConfigMap holds 1 MiB, and what does
/// not compress grows a little.
pub(crate) const SIZE: usize = 900 * 1024;

/// Why parts do not make a bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not gzip, or cut short.
    #[error("decompress part {0}")]
    Compression(usize, #[source] std::io::Error),
    /// A part holds more than a part can.
    #[error("part {0} is larger than a part can be")]
    Size(usize),
}

/// How many parts so many bytes make.
pub(crate) fn count(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(SIZE).max(1)
}

/// The parts, compressed.
pub(crate) fn split(bytes: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    (0..count(bytes))
        .map(|number| {
            let end = bytes.len().min((number + 1) * SIZE);
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&bytes[number * SIZE..end])?;
            encoder.finish()
        })
        .collect()
}

/// The bytes of parts in order. Whether they are the right ones is for the
/// digest to say.
pub(crate) fn join(parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let before = bytes.len();
        // One byte more than allowed shows that there is too much.
        GzDecoder::new(*part)
            .take(SIZE as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::Compression(number, error))?;
        if bytes.len() - before > SIZE {
            return Err(Error::Size(number));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn parts_make_the_whole_again_and_fit_a_config_map() {
        for length in [0, 1, SIZE, SIZE + 1, 3 * SIZE] {
            let bytes = noise(length);
            let parts = split(&bytes).unwrap();
            assert_eq!(parts.len(), count(&bytes));
            assert!(parts.iter().all(|part| part.len() < 1 << 20));
            let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
            assert_eq!(join(&parts).unwrap(), bytes);
        }
    }

    #[test]
    fn a_part_is_the_same_whoever_writes_it() {
        let bytes = noise(2 * SIZE);
        assert_eq!(split(&bytes).unwrap(), split(&bytes).unwrap());
    }

    #[test]
    fn a_bomb_and_a_stump_are_refused() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; 4 * SIZE]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(matches!(join(&[&bomb]), Err(Error::Size(0))));
        let part = &split(b"text").unwrap()[0];
        let stump = &part[..part.len() - 4];
        assert!(matches!(join(&[stump]), Err(Error::Compression(0, _))));
    }
}
