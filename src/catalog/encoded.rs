//! A command's parameters in MAVLink's own terms.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    CommandLong,
    CommandInt,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded {
    pub command: u16,
    pub transport: Transport,
    pub frame: u8,
    pub params: [Option<f64>; 7],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongParams(pub [f32; 7]);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntParams {
    pub param1: f32,
    pub param2: f32,
    pub param3: f32,
    pub param4: f32,
    pub x: i32,
    pub y: i32,
    pub z: f32,
}
