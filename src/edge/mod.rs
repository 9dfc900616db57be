//! The adapters: everything that touches a socket, a port, a file, a clock or the log. They never
//! import each other; the daemon's one loop connects them to the pure middle.

pub mod clock;
pub mod log;
pub mod mqtt;

pub mod systemd;
