pub mod catalog;
pub mod code;
pub mod edge;
pub mod wire;
