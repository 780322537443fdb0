//! Readiness as a set of named gates: ready when every gate is open.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

type Gates = BTreeMap<&'static str, bool>;

/// Shared by all parts of a process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness {
    gates: Arc<watch::Sender<Gates>>,
}

/// One part's say in whether the process is ready. Closed until opened.
#[derive(Debug, Clone)]
pub struct Gate {
    name: &'static str,
    gates: Arc<watch::Sender<Gates>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            gates: Arc::new(watch::Sender::new(Gates::new())),
        }
    }
}

impl Readiness {
    /// Adds a gate, closed. The name is shown by `/ready` while it is closed.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate {
            name,
            gates: Arc::clone(&self.gates),
        };
        gate.set(false);
        gate
    }

    /// The names of the closed gates; empty means ready.
    pub fn closed(&self) -> Vec<&'static str> {
        closed(&self.gates.borrow())
    }

    /// Resolves when readiness has changed; `seen` is kept by the caller.
    pub fn subscribe(&self) -> Changes {
        Changes(self.gates.subscribe())
    }
}

fn closed(gates: &Gates) -> Vec<&'static str> {
    gates
        .iter()
        .filter_map(|(name, open)| (!open).then_some(*name))
        .collect()
}

/// Follows a [`Readiness`].
#[derive(Debug)]
pub struct Changes(watch::Receiver<Gates>);

impl Changes {
    /// Whether all gates are open now.
    pub fn ready(&mut self) -> bool {
        closed(&self.0.borrow_and_update()).is_empty()
    }

    /// Waits for a change. `false` once nothing can change any more.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Gate {
    /// Opens the gate.
    pub fn open(&self) {
        self.set(true);
    }

    /// Closes the gate.
    pub fn close(&self) {
        self.set(false);
    }

    fn set(&self, open: bool) {
        self.gates
            .send_if_modified(|gates| gates.insert(self.name, open) != Some(open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_means_that_every_gate_is_open() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.gate("first"), readiness.gate("second"));
        let mut changes = readiness.subscribe();
        assert!(!changes.ready());
        first.open();
        assert_eq!(readiness.closed(), ["second"]);
        second.open();
        assert!(changes.changed().await);
        assert!(changes.ready());
        first.close();
        assert!(!changes.ready());
    }
}
