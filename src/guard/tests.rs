//! The layers, in their order.

use serde_json::json;

use super::*;
use crate::catalog;
use crate::guard::policy::{FieldBounds, Values};
use crate::guard::state::Requirements;
use crate::wire::mavlink::Heartbeat;

const AUTOPILOT: Address = Address { system: 1, component: 1 };
const NOW: Duration = Duration::from_secs(1000);

/// What stands against a command, by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Issuer,
    Mode,
    Permission,
    Rate,
    CommandType,
    Target,
    Bounds,
    State,
    Transport,
}

use Layer::{Bounds, CommandType, Issuer, Rate, State, Target, Transport};

const LAYERS: [(Layer, Code); 9] = [
    (Issuer, Code::AuthFailed),
    (Layer::Mode, Code::GuardDisabled),
    (Layer::Permission, Code::AuthNotPermitted),
    (Rate, Code::PolicyRateLimited),
    (CommandType, Code::PolicyCommandDenied),
    (Target, Code::PolicyOutOfBounds),
    (Bounds, Code::PolicyOutOfBounds),
    (State, Code::StatePrecondition),
    (Transport, Code::TransportNotReady),
];

/// The refusal of a command that fails at each of these layers.
fn refusal(fails: &[Layer]) -> Result<Clearance, Refusal> {
    let fails = |layer| fails.contains(&layer);
    let command = catalog::find("preflight_reboot_shutdown").unwrap();
    let content = command.encode(json!({"autopilot": 2}).as_object().unwrap(), None).unwrap();
    let autopilot = FieldBounds {
        field: command.field("autopilot").unwrap(),
        values: Values::OneOf(vec![if fails(Bounds) { 1.0 } else { 2.0 }]),
        allow_unset: false,
    };
    let rule = Rule {
        target_components: [100].into(),
        fields: vec![autopilot],
        require: Requirements { armed: Some(fails(State)), ..Requirements::default() },
        ..Rule::default()
    };
    let rules = (!fails(CommandType)).then_some((command.command_type, rule));
    let mode = if fails(Layer::Mode) { Mode::Disabled } else { Mode::Guarded };
    let permission = Permission {
        all_commands: !fails(Layer::Permission),
        commands_per_minute: Some(1),
        ..Permission::default()
    };
    let keys = Keys::new(BTreeMap::new()).unwrap();
    let policy = Policy::new(AUTOPILOT, Default::default(), rules);
    let guard = Guard::new(mode, [("cloud".to_owned(), permission)].into(), keys, policy);
    let mut rates = Rates::default();
    if fails(Rate) {
        assert!(rates.take("cloud", Some(1), NOW));
    }
    let mut vehicle = Vehicle::new(AUTOPILOT);
    vehicle.opened();
    vehicle.heartbeat(
        &Heartbeat {
            source: AUTOPILOT,
            autopilot: 12,
            vehicle_type: 2,
            base_mode: 0x1D,
            custom_mode: 0,
            system_status: 3,
        },
        NOW,
    );
    let component = match (fails(Target), fails(Transport)) {
        (true, _) => 101,
        // Allowed, and never heard.
        (false, true) => 100,
        (false, false) => 1,
    };
    if fails(Issuer) {
        let clock = Clock { wall: Default::default(), trusted: true, challenge: "" };
        guard.authenticate("cloud", "topic", b"{}", None, &clock)?;
    }
    let candidate = Candidate {
        api_id: "cloud",
        command,
        content: &content,
        target: Address { component, ..AUTOPILOT },
        timeout_seconds: 30,
    };
    guard.judge(candidate, &mut rates, &vehicle, NOW)
}

#[test]
fn the_first_layer_that_refuses_ends_it() {
    assert_eq!(refusal(&[]), Ok(Clearance::default()));
    for (at, (layer, code)) in LAYERS.iter().enumerate() {
        assert_eq!(refusal(&[*layer]).unwrap_err().code, *code, "{layer:?} alone");
        let rest: Vec<Layer> = LAYERS[at..].iter().map(|(layer, _)| *layer).collect();
        let refusal = refusal(&rest).unwrap_err();
        assert_eq!(refusal.code, *code, "{rest:?}");
        let told = match layer {
            Target => "target_component 101",
            Bounds => "payload.autopilot",
            _ => "",
        };
        assert!(refusal.message.contains(told), "{}", refusal.message);
    }
}

#[test]
fn unknown_state_comes_before_a_link_that_is_not_ready() {
    let command = catalog::find("preflight_reboot_shutdown").unwrap();
    let content = command.encode(&Default::default(), None).unwrap();
    let rule = |armed| Rule {
        require: Requirements { armed, ..Requirements::default() },
        ..Rule::default()
    };
    for (armed, code) in [(Some(false), Code::StateUnknown), (None, Code::TransportNotReady)] {
        let policy =
            Policy::new(AUTOPILOT, Default::default(), [(command.command_type, rule(armed))]);
        let guard = Guard::example(Mode::Guarded, policy);
        let mut rates = Rates::default();
        let vehicle = Vehicle::new(AUTOPILOT);
        let candidate = Candidate {
            api_id: "cloud",
            command,
            content: &content,
            target: AUTOPILOT,
            timeout_seconds: 30,
        };
        assert_eq!(guard.judge(candidate, &mut rates, &vehicle, NOW).unwrap_err().code, code);
        // What waits over a restart is asked for its state when it is its turn.
        assert_eq!(guard.permit(candidate), Ok(Clearance::default()));
        let later = guard.check_state(command.command_type, &vehicle, NOW);
        assert_eq!(later.is_ok(), armed.is_none());
    }
}
