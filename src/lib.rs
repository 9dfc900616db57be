pub mod code;
pub mod edge;
pub mod lifecycle;
