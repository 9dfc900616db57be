//! Adapters to the outside; none of them knows another.

pub mod link;
