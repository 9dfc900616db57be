//! PURE. The lifecycle of a command, from the request to its terminal status.
//!
//! ```text
//!                 guard says no / frame not writable
//!   ACCEPTED ────────────────────────────────────────────▶ FAILED
//!    │   │  frame written and drained                         ▲
//!    │   ▼                                                    │ any other result
//!    │  DELIVERED ── IN_PROGRESS (stays, new seq, progress) ──┤
//!    │   │                                                    │
//!    │   ├── MAV_RESULT_ACCEPTED ─────────────────────────▶ SUCCEEDED
//!    │   ├── deadline ───────────▶ TIMED_OUT ── a late ACK ─▶ UNMATCHED_RESPONSE
//!    │   │                             ▲                              ▲
//!    └───┼── deadline in the queue ────┘                              │
//!        └── deadline, and only another component has answered ───────┘
//! ```
//!
//! Reading order: [`request`] (what comes in), [`record`] (what is kept of it), [`effect`] (what the
//! engine is told and what it asks for), [`engine`] (the rules).

pub mod effect;
pub mod engine;
pub mod outbox;
pub mod record;
pub mod request;
pub mod selection;
pub mod status;
pub mod time;
pub mod timers;
