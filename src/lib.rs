pub mod catalog;
pub mod code;
