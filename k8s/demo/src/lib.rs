//! The broker's whole job through its OSB endpoint, as a demo and as the end-to-end test.
