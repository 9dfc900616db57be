"""As much as PX4 sends in onboard mode: about 520 frames and 33 kB in a second."""

import random

from pymavlink.dialects.v20 import development as mavlink

# Per second. Of these the agent reads SYS_STATUS, EXTENDED_SYS_STATE, GPS_RAW_INT, HOME_POSITION.
RATES = {
    mavlink.MAVLink_attitude_message: 100,
    mavlink.MAVLink_attitude_quaternion_message: 50,
    mavlink.MAVLink_highres_imu_message: 50,
    mavlink.MAVLink_global_position_int_message: 50,
    mavlink.MAVLink_scaled_imu_message: 50,
    mavlink.MAVLink_local_position_ned_message: 30,
    mavlink.MAVLink_odometry_message: 30,
    mavlink.MAVLink_servo_output_raw_message: 10,
    mavlink.MAVLink_attitude_target_message: 10,
    mavlink.MAVLink_position_target_local_ned_message: 10,
    mavlink.MAVLink_position_target_global_int_message: 10,
    mavlink.MAVLink_actuator_output_status_message: 10,
    mavlink.MAVLink_vfr_hud_message: 10,
    mavlink.MAVLink_altitude_message: 10,
    mavlink.MAVLink_timesync_message: 10,
    mavlink.MAVLink_wind_cov_message: 10,
    mavlink.MAVLink_estimator_status_message: 10,
    mavlink.MAVLink_gps_raw_int_message: 10,
    mavlink.MAVLink_optical_flow_rad_message: 10,
    mavlink.MAVLink_obstacle_distance_message: 10,
    mavlink.MAVLink_gimbal_device_attitude_status_message: 10,
    mavlink.MAVLink_sys_status_message: 5,
    mavlink.MAVLink_extended_sys_state_message: 5,
    mavlink.MAVLink_battery_status_message: 5,
    mavlink.MAVLink_vibration_message: 4,
    mavlink.MAVLink_home_position_message: 1,
}


class Telemetry(mavlink.MAVLink_message):
    """A message of some kind with any content."""

    def __init__(self, kind, content):
        super().__init__(kind.id, kind.msgname)
        self._kind = kind
        self._content = content

    def pack(self, codec, force_mavlink1=False):
        return self._pack(codec, self._kind.crc_extra, self._content, force_mavlink1)


def onboard(seed):
    """A second of it: (offset in seconds, message), in order."""
    chance = random.Random(seed)
    second = []
    for kind, rate in RATES.items():
        phase = chance.random() / rate
        for count in range(rate):
            content = chance.randbytes(kind.unpacker.size)
            second.append((phase + count / rate, Telemetry(kind, content)))
    return sorted(second, key=lambda due: due[0])
