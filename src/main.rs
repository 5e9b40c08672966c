//! Arguments → library → exit code; nothing else.

fn main() -> std::process::ExitCode {
    countersign::cli::main()
}
