//! contiv-operator: parse and run.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    operator::run(operator::Config::parse())
}
