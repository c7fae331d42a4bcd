//! GoVPP and vpp_papi, each in a program that prints `workload count seconds`.

use std::path::Path;
use std::process::Command;

use crate::tools;
use crate::{Counts, Rates};

/// GoVPP with its blocking channel (`sync`) or its stream.
pub fn govpp(socket: &Path, counts: Counts, mode: &str) -> Option<Rates> {
    let program = tools::govpp()?.join("bench");
    Some(rates(Command::new(program).arg(socket).arg(mode), counts))
}

/// vpp_papi, waiting for each answer (`sync`) or not (`async`).
pub fn papi(socket: &Path, counts: Counts, mode: &str) -> Option<Rates> {
    let mut command = tools::papi("bench.py")?;
    Some(rates(command.arg(socket).arg(mode), counts))
}

fn rates(command: &mut Command, counts: Counts) -> Rates {
    let numbers = [
        counts.sequential,
        counts.pings,
        counts.routes,
        counts.translations,
        counts.backends.into(),
        counts.rules,
        counts.repeats,
    ];
    let said = tools::run(command.args(numbers.map(|number| number.to_string())));
    let figures = said.lines().map(|line| {
        let mut words = line.split(' ');
        let workload = words.next().unwrap().to_owned();
        let mut number = || words.next().unwrap().parse::<f64>().unwrap();
        (workload, number() / number())
    });
    figures.collect()
}
