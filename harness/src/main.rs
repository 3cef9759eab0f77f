//! The command `conformance`: see `cargo conformance --help`.

fn main() -> std::process::ExitCode {
    harness::cli::main(std::env::args_os())
}
