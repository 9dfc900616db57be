//! `downlinkd guard explain`

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::api::Agent;
use crate::edge::api::client::Method;
use crate::wire::explanation::{Explanation, Rehearsal};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say which layers would refuse a request at this moment, and why; nothing is sent
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The request as it would be published, signed by an envelope or not; - for the standard input
    #[arg(value_name = "REQUEST.json")]
    request: PathBuf,
    /// On whose topic; by default of whom has signed the envelope
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    #[command(flatten)]
    agent: Agent,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let Command::Explain(Explain { request, issuer, agent }) = &arguments.command;
    let request = match read(request) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("downlinkd: failed to read {}: {error}", request.display());
            return ExitCode::FAILURE;
        }
    };
    let rehearsal = Rehearsal { request, issuer: issuer.clone() };
    let answered = agent.call(Method::POST, "guard/explain", Some(&json!(rehearsal)));
    let (explanation, json) = match agent.read::<Explanation>(answered) {
        Ok(read) => read,
        Err(code) => return code,
    };
    let printed = agent.print(&json, || screen(&explanation));
    let refused = explanation.layers.iter().any(|finding| finding.verdict == "refuses");
    if refused { ExitCode::FAILURE } else { printed }
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

/// One line for each layer, and the end of it.
fn screen(explanation: &Explanation) -> String {
    let Explanation { issuer, command_type, layers } = explanation;
    let mut screen = format!("{command_type} of {issuer}\n");
    for finding in layers {
        let _ = write!(screen, "  {:<15} {}", finding.layer, finding.verdict);
        if let (Some(code), Some(message)) = (finding.code, &finding.message) {
            let _ = write!(screen, ": {message} ({code})");
        }
        screen.push('\n');
    }
    let first = layers.iter().find_map(|finding| finding.code);
    let _ = match first {
        Some(code) => writeln!(screen, "it would be refused: {code}"),
        None => writeln!(screen, "it would be sent"),
    };
    screen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::guard::Refusal;
    use crate::guard::explain::{Layer, Verdict};
    use crate::wire::explanation::Finding;

    #[test]
    fn the_first_refusal_is_the_commands() {
        let armed = Refusal::new(Code::StatePrecondition, "the vehicle is armed");
        let missing = Refusal::new(Code::GrantMissing, "no grant");
        let mut explanation = Explanation {
            issuer: "cloud".to_owned(),
            command_type: "preflight_reboot_shutdown".to_owned(),
            layers: vec![
                Finding::of(Layer::Mode, Verdict::Passes),
                Finding::of(Layer::State, Verdict::Refuses(armed)),
                Finding::of(Layer::Grant, Verdict::Refuses(missing)),
                Finding::of(Layer::Transport, Verdict::NotAsked),
            ],
        };
        assert_eq!(
            screen(&explanation),
            "\
preflight_reboot_shutdown of cloud
  mode            passes
  state           refuses: the vehicle is armed (state.precondition)
  grant           refuses: no grant (grant.missing)
  transport       not asked
it would be refused: state.precondition
"
        );
        explanation.layers.truncate(1);
        assert!(screen(&explanation).ends_with("passes\nit would be sent\n"));
    }
}
