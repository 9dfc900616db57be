//! The generated table.

use super::{Command, Entry, Enumeration, Field, Location, Risk, Status, Transport};

include!(concat!(env!("OUT_DIR"), "/catalog.rs"));
