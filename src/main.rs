use std::process::ExitCode;

fn main() -> ExitCode {
    downlinkd::cli::main()
}
