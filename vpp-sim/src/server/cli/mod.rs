//! The debug command line, as far as `cli_inband` users here need it. Texts follow VPP's, without claiming every column.

mod forwarding;
mod interface;
mod services;

use super::core::Core;

/// Runs one command line; the error is VPP's text for what it does not know.
pub fn run(core: &mut Core, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["show", rest @ ..] => show(core, rest),
        ["trace", "add", rest @ ..] => trace_add(core, rest),
        ["clear", "trace"] => {
            core.tracer.clear();
            Ok(String::new())
        }
        ["test", "cnat", "scanner", state @ ("on" | "off")] => {
            core.vpp.cnat_scanner(*state == "on");
            Ok(String::new())
        }
        ["clear", "interfaces"] => {
            core.vpp.clear_counters(None).map_err(|error| error.to_string())?;
            Ok(String::new())
        }
        _ => Err(unknown(line.trim())),
    }
}

fn show(core: &mut Core, words: &[&str]) -> Result<String, String> {
    match words {
        ["version", ..] => Ok(format!(
            "vpp v{} built {}\n",
            core.identity.version, core.identity.build_date
        )),
        ["interface", "address" | "addr"] => Ok(interface::addresses(&core.vpp)),
        ["interface", names @ ..] => interface::counters(&core.vpp, names),
        ["ip", "fib", ..] => Ok(forwarding::fib(&core.vpp, crate::engine::Family::V4)),
        ["ip6", "fib", ..] => Ok(forwarding::fib(&core.vpp, crate::engine::Family::V6)),
        ["ip", "neighbors" | "neighbor"] => Ok(forwarding::neighbors(core)),
        ["abf", "policy"] => Ok(forwarding::abf_policies(&core.vpp)),
        ["abf", "attach", ..] => Ok(forwarding::abf_attachments(&core.vpp)),
        ["vxlan", "tunnel"] => Ok(forwarding::vxlan(&core.vpp)),
        ["acl-plugin", "acl"] => Ok(services::acls(&core.vpp)),
        ["acl-plugin", "interface"] => Ok(services::acl_bindings(&core.vpp)),
        ["acl-plugin", "sessions"] => Ok(services::acl_sessions(&core.vpp)),
        ["cnat", "translation"] => Ok(services::translations(&core.vpp)),
        ["cnat", "session", ..] => Ok(services::sessions(&core.vpp)),
        ["trace"] => Ok(core.tracer.show(None)),
        ["trace", "max", count] => {
            let most = count.parse().map_err(|_| unknown(&words.join(" ")))?;
            Ok(core.tracer.show(Some(most)))
        }
        _ => Err(unknown(&words.join(" "))),
    }
}

/// `trace add <input node> <count>`.
fn trace_add(core: &mut Core, words: &[&str]) -> Result<String, String> {
    let wanted = match words {
        [node, count] => core.vpp.node_index(node).ok().zip(count.parse().ok()),
        _ => None,
    };
    let (_, count) = wanted.ok_or_else(|| unknown(&words.join(" ")))?;
    core.tracer.add(words[0], count);
    Ok(String::new())
}

fn unknown(what: &str) -> String {
    format!("unknown input `{what}'\n")
}
