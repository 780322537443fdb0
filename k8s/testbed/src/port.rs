//! Ports that stay ours for as long as we hold them, also while nothing listens on them.
//!
//! A test stops an API server and starts it again on the same port; asking the kernel for "any
//! port" would let another test take it in between. So ports come from below the range that the
//! kernel hands out, and each is held by a lock on a file.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use crate::{
    error::{Error, Result},
    lock::{self, Lock},
    paths,
};

/// Below the kernel's own range (from 32768) and the node ports (from 30000).
const FIRST: u16 = 20_000;
const COUNT: u16 = 9_000;

/// A port on the loopback address, ours until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: Lock,
}

impl Port {
    /// Finds a port that nobody uses or holds.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if none is left, or if the folder of the locks cannot be written.
    pub fn reserve() -> Result<Self> {
        let folder = paths::temporary().join("ports");
        let start = RandomState::new().hash_one(()) % u64::from(COUNT);
        let start = u16::try_from(start).unwrap_or_default();
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            let Some(lock) = lock::attempt(&folder.join(number.to_string()))? else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        Err(Error::Unsupported {
            reason: "no free port is left on this machine".to_owned(),
        })
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_given_to_nobody_else() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }
}
