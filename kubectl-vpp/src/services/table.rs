//! Tables for people.

use std::io::{self, Write};

use super::{State, View};

/// Writes columns as wide as their widest entry; the last one ends where it ends.
fn write(
    out: &mut dyn Write,
    header: &[&str],
    rows: &[Vec<String>],
    paint: impl Fn(&str) -> Option<&'static str>,
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let space = if last {
                0
            } else {
                widths[column] + 3 - cell.chars().count()
            };
            match paint(cell) {
                Some(colour) => write!(out, "\x1b[{colour}m{cell}\x1b[0m")?,
                None => write!(out, "{cell}")?,
            }
            if !last {
                write!(out, "{:space$}", "")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn painter(coloured: bool) -> impl Fn(&str) -> Option<&'static str> {
    move |cell| match cell {
        _ if !coloured => None,
        "Applied" | "Ready" => Some("32"),
        "Pending" | "Terminating" => Some("33"),
        "Unknown" | "NotReady" => Some("31"),
        _ => None,
    }
}

/// The state of a Service as a whole: the worst of its nodes'.
fn state(view: &View) -> (&'static str, String) {
    let of = |wanted: State| view.nodes.iter().find(|node| node.state == wanted);
    match of(State::Pending).or_else(|| of(State::Unknown)) {
        Some(node) => (node.state.word(), format!("{}: {}", node.node, node.reason)),
        None if view.nodes.is_empty() => (
            "-",
            view.note
                .clone()
                .unwrap_or_else(|| "no node has a VppConfig".to_owned()),
        ),
        None => ("Applied", view.note.clone().unwrap_or_default()),
    }
}

/// A line for each Service.
pub fn list(out: &mut dyn Write, views: &[View], with_namespace: bool, coloured: bool) -> io::Result<()> {
    let mut header = vec![
        "NAMESPACE",
        "NAME",
        "TYPE",
        "FRONTENDS",
        "BACKENDS",
        "NODES",
        "STATE",
        "REASON",
    ];
    let mut rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let frontends: Vec<String> = view
                .frontends
                .iter()
                .map(|f| address(&f.address, f.port, &f.protocol))
                .collect();
            let shown = match frontends.as_slice() {
                [] => "-".to_owned(),
                [one] => one.clone(),
                [first, rest @ ..] => format!("{first} +{}", rest.len()),
            };
            let ready = view
                .backends
                .iter()
                .filter(|backend| backend.state == "Ready")
                .count();
            let applied = view
                .nodes
                .iter()
                .filter(|node| node.state == State::Applied)
                .count();
            let (state, reason) = state(view);
            vec![
                view.namespace.clone(),
                view.name.clone(),
                view.kind.clone(),
                shown,
                format!("{ready}/{}", view.backends.len()),
                format!("{applied}/{}", view.nodes.len()),
                state.to_owned(),
                reason,
            ]
        })
        .collect();
    if !with_namespace {
        header.remove(0);
        for row in &mut rows {
            row.remove(0);
        }
    }
    write(out, &header, &rows, painter(coloured))
}

/// One Service.
pub fn detail(out: &mut dyn Write, view: &View, coloured: bool) -> io::Result<()> {
    writeln!(
        out,
        "Service {}/{}, type {}",
        view.namespace, view.name, view.kind
    )?;
    writeln!(
        out,
        "  internal traffic policy {:?}, external {:?}; session affinity {}",
        view.internal_traffic_policy,
        view.external_traffic_policy,
        view.affinity_seconds
            .map_or("none".to_owned(), |seconds| format!("ClientIP, {seconds} s"))
    )?;
    if let Some(note) = &view.note {
        writeln!(out, "  {note}")?;
    }
    let dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    if !view.frontends.is_empty() {
        writeln!(out)?;
        let rows: Vec<Vec<String>> = view
            .frontends
            .iter()
            .map(|f| {
                vec![
                    address(&f.address, f.port, &f.protocol),
                    f.kind.to_owned(),
                    dash(&f.name),
                ]
            })
            .collect();
        write(out, &["FRONTEND", "KIND", "PORT NAME"], &rows, painter(coloured))?;
    }
    if !view.backends.is_empty() {
        writeln!(out)?;
        let rows: Vec<Vec<String>> = view
            .backends
            .iter()
            .map(|b| {
                let ports: Vec<String> = b.ports.iter().map(u16::to_string).collect();
                vec![
                    b.address.to_string(),
                    ports.join(","),
                    dash(b.node.as_deref().unwrap_or_default()),
                    b.state.to_owned(),
                    dash(&b.hints.join(", ")),
                ]
            })
            .collect();
        write(
            out,
            &["BACKEND", "PORTS", "NODE", "STATE", "FOR"],
            &rows,
            painter(coloured),
        )?;
    }
    if !view.nodes.is_empty() {
        writeln!(out)?;
        let rows: Vec<Vec<String>> = view
            .nodes
            .iter()
            .map(|n| {
                vec![
                    n.node.clone(),
                    n.state.word().to_owned(),
                    n.backends.len().to_string(),
                    dash(&n.reason),
                ]
            })
            .collect();
        write(
            out,
            &["NODE", "STATE", "LEADS TO", "REASON"],
            &rows,
            painter(coloured),
        )?;
    }
    Ok(())
}

fn address(address: &str, port: u16, protocol: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}/{protocol}")
    } else {
        format!("{address}:{port}/{protocol}")
    }
}
