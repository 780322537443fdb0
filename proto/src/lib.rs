//! The contracts between the broker's services.
