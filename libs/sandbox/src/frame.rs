//! Messages on a pipe: their length in four bytes, then JSON.

use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most that a message may have. A bundle may have 16 MiB; quoted it is longer.
pub(crate) const LARGEST: usize = 48 << 20;

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the message is too large")
}

fn head(message: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(message.len()).map_err(|_| too_large())?;
    Ok(length.to_le_bytes())
}

fn length(head: [u8; 4], largest: usize) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(head)).map_err(|_| too_large())?;
    if length > largest {
        return Err(too_large());
    }
    Ok(length)
}

/// The next message; `None` at the end.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut message = vec![0; length(head, LARGEST)?];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes a message.
pub(crate) fn write(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    to.write_all(&head(message)?)?;
    to.write_all(message)?;
    to.flush()
}

/// As [`read`], for who waits for an answer: the end is an error.
pub(crate) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let mut message = vec![0; length(head, LARGEST)?];
    from.read_exact(&mut message).await?;
    Ok(message)
}

/// As [`write`].
pub(crate) async fn send(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    to.write_all(&head(message)?).await?;
    to.write_all(message).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_went_and_a_length_that_is_too_large_takes_no_memory() {
        let mut pipe = Vec::new();
        write(&mut pipe, b"one").unwrap();
        write(&mut pipe, b"").unwrap();
        let mut from = pipe.as_slice();
        assert_eq!(read(&mut from).unwrap().unwrap(), b"one");
        assert_eq!(read(&mut from).unwrap().unwrap(), b"");
        assert!(read(&mut from).unwrap().is_none());
        assert!(read(&mut [0xff; 8].as_slice()).is_err());
        assert!(read(&mut [9, 0, 0, 0, 1].as_slice()).is_err(), "cut off");
    }
}
