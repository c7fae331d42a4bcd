use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_vpp::run()
}
