//! What holds for the whole run, and where its tasks can run: settings, agents, resources and amounts of them. Knows nothing of
//! tasks.

use std::collections::HashMap;

use super::Machine;
use super::diagnostic::{Extent, Finding, shown};
use super::health;
use super::limits;
use super::names::{check_name, required_name};
use super::order::Names;
use super::schema::{ADOPT, AGENT, Fields, Reader, Word, Zero, describe, head};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use super::units;
use crate::engine::definition::{
    AgentDefinition, Durability, OnConsoleDeath, OnDeadlock, OnLost, ResourceDefinition, ResourceKind, Settings,
};
use crate::engine::ids::{Amount, ResourceId, Span};

/// An agent has no more slots than this.
pub const MAX_SLOTS: u32 = 10_000;

/// The words before an agent's commands are no longer than this, in bytes.
const MAX_LAUNCHER_BYTES: usize = 4096;

/// `cpu` and `mem` are the first two resources.
pub(super) const CPU: ResourceId = ResourceId(0);
pub(super) const MEM: ResourceId = ResourceId(1);

// ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────

pub(super) fn settings(reader: &mut Reader, fields: &Fields<'_, '_>) -> Settings {
    let mut settings = Settings::default();
    if let Some(word) = fields.get("name").and_then(|node| reader.text(node, "name")) {
        check_name(reader, &word, "workflow");
        word.text.clone_into(&mut settings.name);
    }
    let span = |reader: &mut Reader, name: &str, zero: Zero, into: &mut Span| {
        if let Some(span) = fields.get(name).and_then(|node| reader.duration(node, name, zero)) {
            *into = span;
        }
    };
    span(reader, "grace", Zero::Allowed, &mut settings.grace);
    span(reader, "aging", Zero::Refused, &mut settings.aging);
    span(reader, "reserve_after", Zero::Allowed, &mut settings.reserve_after);
    span(reader, "leak_grace", Zero::Allowed, &mut settings.leak_grace);
    if let Some(node) = fields.get("on_lost") {
        let choices = [("Hold", OnLost::Hold), ("Retry", OnLost::Retry), ("Fail", OnLost::Fail)];
        settings.on_lost = reader.choice(node, "on_lost", &choices).unwrap_or_default();
    }
    if let Some(node) = fields.get("on_deadlock") {
        let choices = [("Refuse", OnDeadlock::Refuse), ("Wound", OnDeadlock::Wound)];
        settings.on_deadlock = reader.choice(node, "on_deadlock", &choices).unwrap_or_default();
    }
    if let Some(node) = fields.get("durability") {
        let choices = [("Process", Durability::Process), ("Power", Durability::Power)];
        settings.durability = reader.choice(node, "durability", &choices).unwrap_or_default();
    }
    if let Some(node) = fields.get("on_console_death") {
        on_console_death(reader, node, &mut settings.on_console_death);
    }
    settings
}

fn on_console_death(reader: &mut Reader, node: &Node<'_>, into: &mut OnConsoleDeath) {
    let adopts = match &node.kind {
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => name.text == "Adopt",
        Kind::Word(word) => *word == "Adopt",
        _ => false,
    };
    if !adopts {
        let choices = [("Stop", OnConsoleDeath::Stop), ("Adopt", *into)];
        *into = reader.choice(node, "on_console_death", &choices).unwrap_or(*into);
        return;
    }
    let Some(fields) = reader.fields(node, &ADOPT) else { return };
    if let Some(grace) = fields.get("grace").and_then(|node| reader.duration(node, "grace", Zero::Refused)) {
        *into = OnConsoleDeath::Adopt { grace };
    }
}

// ── agents and resources ────────────────────────────────────────────────────────────────────────────────────────────

/// Agents, and all resources: `cpu` and `mem`, what agents declare, what the session declares.
pub(super) fn places(
    reader: &mut Reader,
    fields: &Fields<'_, '_>,
    machine: &Machine,
    outer: Option<(&[AgentDefinition], &[ResourceDefinition])>,
) -> (Vec<AgentDefinition>, Vec<ResourceDefinition>) {
    let per_agent = |name: &str| ResourceDefinition::new(name, ResourceKind::PerAgent);
    let mut resources = vec![per_agent("cpu"), per_agent("mem")];
    let mut declared: HashMap<String, (ResourceId, Option<Extent>)> =
        HashMap::from([("cpu".to_owned(), (CPU, None)), ("mem".to_owned(), (MEM, None))]);
    let mut agents = Vec::new();
    if let Some((outer_agents, outer_resources)) = outer {
        agents = outer_agents.to_vec();
        resources = outer_resources.to_vec();
        let ids = (0..).zip(outer_resources).filter(|(_, resource)| resource.kind == ResourceKind::PerAgent);
        declared = ids.map(|(id, resource)| (resource.name.clone(), (ResourceId(id), None))).collect();
    } else if let Some(node) = fields.get("agents") {
        let list = reader.list(node, "agents");
        if list.is_empty() && matches!(&node.kind, Kind::List(_)) {
            let finding = Finding::new(head(node), "no agents: nothing could ever start").label("an empty list");
            reader.report(finding.help("leave `agents` out to have one: this machine"));
        }
        let mut names = Names::new("agent");
        for node in list {
            let Some(fields) = reader.fields(node, &AGENT) else { continue };
            let name = required_name(reader, node, &fields, "name", "agent");
            if let Some(name) = name {
                names.add(reader, name);
            }
            let name = name.map(|name| name.text.to_owned()).unwrap_or_default();
            let mut agent = agent(reader, &fields, name, machine);
            for (key, value) in fields.get("resources").map(|node| reader.map(node, "resources")).unwrap_or_default() {
                check_name(reader, &key, "resource");
                let (id, _) = *declared.entry(key.text.to_owned()).or_insert_with(|| {
                    resources.push(per_agent(key.text));
                    (ResourceId::from(resources.len() - 1), Some(key.at))
                });
                if let Some(amount) = read_amount(reader, value, key.text, id) {
                    agent.resources.retain(|(other, _)| *other != id);
                    agent.resources.push((id, amount));
                }
            }
            agent.resources.sort_unstable();
            agents.push(agent);
        }
    } else {
        agents.push(local_agent(machine));
    }
    if let Some(node) = fields.get("resources") {
        for (key, value) in reader.map(node, "resources") {
            check_name(reader, &key, "resource");
            if let Some((_, earlier)) = declared.get(key.text) {
                let message = format!("`{}` is a resource of the agents already", shown(key.text));
                let finding = Finding::new(key.at, message).label("the name is taken");
                reader.report(match earlier {
                    Some(earlier) => finding.also(*earlier, "by this one"),
                    None => {
                        finding.help("say how much an agent has: Agent(…, resources: {\"cpu\": 4, \"mem\": \"8GiB\"})")
                    }
                });
                continue;
            }
            let kind = resource_kind(reader, value, key.text);
            if let Some(same) = resources.iter().position(|resource| resource.name == key.text) {
                // of the outer file, of which this one is part: it is one and the same
                if resources[same].kind != kind {
                    let finding = Finding::new(key.at, format!("`{}` is another in the outer file", shown(key.text)));
                    reader.report(finding.label("declare both alike"));
                }
                declared.insert(key.text.to_owned(), (ResourceId::from(same), Some(key.at)));
                continue;
            }
            declared.insert(key.text.to_owned(), (ResourceId::from(resources.len()), Some(key.at)));
            resources.push(ResourceDefinition::new(key.text, kind));
        }
    }
    (agents, resources)
}

/// The agent of a workflow that declares none: this machine.
pub(super) fn local_agent(machine: &Machine) -> AgentDefinition {
    let slots = machine.parallelism.clamp(1, MAX_SLOTS);
    AgentDefinition {
        name: "local".to_owned(),
        slots,
        capabilities: vec!["shell".to_owned()],
        resources: own_resources(slots, machine),
        launcher: Vec::new(),
        health: None,
    }
}

fn own_resources(slots: u32, machine: &Machine) -> Vec<(ResourceId, Amount)> {
    let memory = Amount(machine.memory.saturating_mul(1000).min(1 << 62));
    vec![(CPU, Amount::units(u64::from(slots))), (MEM, memory)]
}

fn agent(reader: &mut Reader, fields: &Fields<'_, '_>, name: String, machine: &Machine) -> AgentDefinition {
    let slots = fields
        .get("slots")
        .and_then(|node| reader.integer(node, "slots", 1, i64::from(MAX_SLOTS)))
        .and_then(|slots| u32::try_from(slots).ok())
        .unwrap_or(machine.parallelism.clamp(1, MAX_SLOTS));
    let mut capabilities = Vec::new();
    for word in fields.get("capabilities").map(|node| reader.texts(node, "capabilities")).unwrap_or_default() {
        check_name(reader, &word, "capability");
        capabilities.push(word.text.to_owned());
    }
    capabilities.sort_unstable();
    capabilities.dedup();
    let launcher = fields.get("launcher").map(|node| launcher(reader, node)).unwrap_or_default();
    let health = fields.get("health").and_then(|node| health::read(reader, node));
    AgentDefinition { name, slots, capabilities, resources: own_resources(slots, machine), launcher, health }
}

/// What stands before the agent's commands: a program and its arguments.
fn launcher(reader: &mut Reader, node: &Node<'_>) -> Vec<String> {
    if let Kind::Text(text) = &node.kind {
        let words: Vec<String> = text.split_whitespace().map(|word| format!("\"{}\"", shown(word))).collect();
        let finding = Finding::new(node.at, "`launcher` is a list of words, no shell reads it");
        reader.report(finding.label("one text").help(format!("did you mean [{}]?", words.join(", "))));
        return Vec::new();
    }
    let words = reader.texts(node, "launcher");
    let bytes: usize = words.iter().map(|word| word.text.len() + 1).sum();
    if words.first().is_none_or(|word| word.text.is_empty()) && matches!(&node.kind, Kind::List(_)) {
        let finding = Finding::new(head(node), "this launcher names no program").label("nothing to run");
        reader.report(finding.help("for example [\"nice\", \"-n\", \"10\"]; leave it out to run commands as they are"));
    } else if bytes > MAX_LAUNCHER_BYTES {
        let finding = Finding::new(head(node), format!("a launcher of more than {MAX_LAUNCHER_BYTES} bytes"));
        reader.report(finding.label("too long").help("put what it does into a script"));
    } else if let Some(word) = words.iter().find(|word| word.text.contains('\0')) {
        reader.report(Finding::new(word.at, "an argument cannot hold a NUL byte").label("here"));
    } else if let Some(word) = words.iter().find(|word| word.text.contains("${")) {
        let finding = Finding::new(word.at, "no value goes into a launcher").label("not replaced here");
        reader.report(finding.help("the variables of the task are in its environment: use a script, or sh -c"));
    }
    words.iter().map(|word| word.text.to_owned()).collect()
}

fn resource_kind(reader: &mut Reader, node: &Node<'_>, name: &str) -> ResourceKind {
    match &node.kind {
        Kind::Word("Lock") => return ResourceKind::Lock,
        Kind::Tuple(Some(word), items) if word.text == "Pool" && items.len() == 1 => {
            return ResourceKind::Pool(reader.amount(&items[0], name).unwrap_or(Amount(u64::MAX)));
        }
        Kind::Tuple(Some(word), _) | Kind::Struct(Some(word), _) if word.text == "Rate" => {
            if let Some((amount, per)) = limits::rate(reader, node) {
                return ResourceKind::Rate { amount, per };
            }
        }
        Kind::Number(written) => {
            let finding = Finding::new(node.at, format!("`{}` wants a kind of resource", shown(name)));
            let help = format!("did you mean Pool({})?", shown(written));
            reader.report(finding.label("expected Lock, Pool(n) or Rate(amount, per)").help(help));
        }
        _ => {
            let finding = Finding::new(head(node), format!("{} is no kind of resource", describe(node)));
            let word = match &node.kind {
                Kind::Word(word) => Some(*word),
                Kind::Text(text) => Some(text.as_ref()),
                Kind::Tuple(Some(name), _) | Kind::Struct(Some(name), _) => Some(name.text),
                _ => None,
            };
            let near = word.and_then(|word| super::suggest::nearest(word, ["Lock", "Pool", "Rate"]));
            let hint = near.map(|near| {
                let near = match near {
                    "Pool" => "Pool(n)",
                    "Rate" => "Rate(amount: 10, per: \"1s\")",
                    other => other,
                };
                format!("did you mean {near}?")
            });
            reader.report(finding.label("expected Lock, Pool(n) or Rate(amount, per)").maybe_help(hint));
        }
    }
    ResourceKind::Pool(Amount(u64::MAX))
}

/// An amount; of memory only with a unit, since `512` would be half a kilobyte.
fn read_amount(reader: &mut Reader, node: &Node<'_>, name: &str, id: ResourceId) -> Option<Amount> {
    if id == MEM
        && let Kind::Number(written) = &node.kind
    {
        let finding = Finding::new(node.at, "`mem` wants a size with its unit").label("bytes, or what?");
        reader.report(finding.help(format!("for example \"{}MiB\"", shown(written))));
        return None;
    }
    reader.amount(node, name)
}

/// How much of a resource is used.
pub(super) fn used(
    reader: &mut Reader,
    resources: &[ResourceDefinition],
    node: &Node<'_>,
    name: &str,
    id: ResourceId,
) -> Option<Amount> {
    let word = if let Kind::Word(word) = &node.kind { Some(*word) } else { None };
    match (resources[id.index()].kind, word) {
        (ResourceKind::Lock, _) => {
            reader.choice(node, name, &[("Exclusive", Amount::WHOLE_LOCK), ("Shared", Amount(1))])
        }
        (_, Some("Exclusive" | "Shared")) => {
            let finding = Finding::new(node.at, format!("`{}` is no lock: it is counted", shown(name)));
            reader.report(finding.label("expected an amount").help(units::AMOUNT_HELP));
            None
        }
        _ => read_amount(reader, node, name, id),
    }
}

pub(super) fn unknown_resource(reader: &mut Reader, resources: &[ResourceDefinition], key: &Word<'_>) {
    let names = resources.iter().map(|resource| resource.name.as_str());
    let help = did_you_mean(key.text, names).unwrap_or_else(|| {
        format!("declare it: resources: {{ \"{}\": Lock }}, or Pool(n), or as a resource of an agent", shown(key.text))
    });
    let finding = Finding::new(key.at, format!("no resource is called `{}`", shown(key.text)));
    reader.report(finding.label("unknown").help(help));
}
