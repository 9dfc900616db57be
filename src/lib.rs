pub mod code;

// Both ends of the agent, simulated: the demo and the HIL bench.
#[cfg(feature = "bench")]
pub mod bench;
