//! What of the control plane is pure and is looked at without it: the ring engine, which a simulated fleet puts to the test.
//! Everything else is the program, in `main.rs`.

pub mod rollout;
