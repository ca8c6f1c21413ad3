//! What tasks fall back to: `fallbacks` of a workflow, each a strategy with a name, and the `fallback` of a task, a list of
//! such names. A fallback can name others that are tried after it; so these can go round in a circle, which is found here.

use std::collections::HashMap;

use super::capacity::Places;
use super::command;
use super::conditions::Scope;
use super::diagnostic::{Finding, shown};
use super::kind::MAX_QUESTION_BYTES;
use super::names::check_name;
use super::places::{unknown_resource, used};
use super::retry::retry;
use super::schema::{
    ALTERNATIVE, DEGRADE, ESCALATE, Fields, OTHER_AGENT, RETRY_FALLBACK, Reader, Word, Zero, describe, head, peek,
};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};
use crate::engine::definition::{
    Degrade, Escalation, FallbackDefinition, FallbackStrategy, ResourceDefinition, ResourceKind, ResourceRequirement,
    Retry, TaskConstraint, TaskDefinition,
};
use crate::engine::ids::{FallbackId, ResourceId};

/// The strategies that can be written.
const STRATEGIES: [&str; 7] = ["Alternative", "Retry", "OtherAgent", "Degrade", "Skip", "Escalate", "Compensate"];

/// All fallbacks of a file.
pub(super) struct Fallbacks<'n> {
    pub list: Vec<FallbackDefinition>,
    ids: HashMap<String, FallbackId>,
    /// What each names to be tried after it.
    after: Vec<Vec<(FallbackId, Word<'n>)>>,
}

impl<'n> Fallbacks<'n> {
    pub fn read(
        reader: &mut Reader,
        fields: &Fields<'n, '_>,
        scope: Scope<'_, '_>,
        resources: &[ResourceDefinition],
    ) -> Self {
        let mut all = Self { list: Vec::new(), ids: HashMap::new(), after: Vec::new() };
        let Some(node) = fields.get("fallbacks") else { return all };
        let written = reader.map(node, "fallbacks");
        for (key, _) in &written {
            let id = FallbackId::from(all.ids.len());
            all.ids.entry(key.text.to_owned()).or_insert(id);
        }
        for (key, node) in &written {
            check_name(reader, key, "fallback");
            let strategy =
                strategy(reader, scope, resources, key, node).unwrap_or(FallbackStrategy::Retry(Retry::default()));
            all.list.push(FallbackDefinition { name: key.text.to_owned(), strategy });
            let after = match peek(node, "fallback") {
                Some(node) => reader.texts(node, "fallback"),
                None => Default::default(),
            };
            let mut known = Vec::new();
            for word in after {
                known.extend(all.named(reader, &word).map(|id| (id, word)));
            }
            all.after.push(known);
        }
        all.find_loops(reader);
        all
    }

    fn named(&self, reader: &mut Reader, word: &Word<'_>) -> Option<FallbackId> {
        let found = self.ids.get(word.text).copied();
        if found.is_none() {
            let help = did_you_mean(word.text, self.ids.keys().map(String::as_str)).unwrap_or_else(|| {
                format!("declare it: fallbacks: {{ \"{}\": Alternative(run: \"…\") }}", shown(word.text))
            });
            let finding = Finding::new(word.at, format!("no fallback is called `{}`", shown(word.text)));
            reader.report(finding.label("unknown").help(help));
        }
        found
    }

    /// Reports each circle once, at the name that closes it, and cuts it there.
    fn find_loops(&mut self, reader: &mut Reader) {
        // 0: not seen, 1: on the way, 2: done
        let mut marks = vec![0_u8; self.list.len()];
        for start in 0..self.list.len() {
            let mut way: Vec<(usize, usize)> = vec![(start, 0)];
            if marks[start] != 0 {
                continue;
            }
            marks[start] = 1;
            while let Some((at, next)) = way.last_mut() {
                let (here, nth) = (*at, *next);
                let Some((to, word)) = self.after[here].get(nth).copied() else {
                    marks[here] = 2;
                    way.pop();
                    continue;
                };
                *next += 1;
                match marks[to.index()] {
                    0 => {
                        marks[to.index()] = 1;
                        way.push((to.index(), 0));
                    }
                    1 => {
                        let from = way.iter().position(|(on_way, _)| *on_way == to.index()).unwrap_or(0);
                        let names = way[from..].iter().map(|(on_way, _)| *on_way).chain([to.index()]);
                        let path: Vec<String> = names.map(|index| shown(&self.list[index].name)).collect();
                        let finding = Finding::new(word.at, format!("fallbacks that loop: {}", path.join(" → ")));
                        reader.report(
                            finding
                                .label("leads back")
                                .help("a fallback is tried once; to run it more often: Retry(…)"),
                        );
                        self.after[here].remove(nth);
                        if let Some((_, next)) = way.last_mut() {
                            *next = nth;
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// What a task falls back to, in this order: what it names, each with what that names.
    pub fn of_task(
        &self,
        reader: &mut Reader,
        places: &Places<'_>,
        task: &TaskDefinition,
        words: &[Word<'_>],
    ) -> Vec<FallbackId> {
        let mut list: Vec<FallbackId> = Vec::new();
        let mut written: Vec<FallbackId> = Vec::new();
        let mut last: Option<FallbackId> = None;
        for word in words {
            let Some(id) = self.named(reader, word) else { continue };
            if written.contains(&id) {
                let finding = Finding::new(word.at, format!("`{}` stands twice in one `fallback`", shown(word.text)));
                reader.report(finding.label("a second time").help("a fallback is tried once"));
                continue;
            }
            written.push(id);
            for id in self.follow(id).into_iter().filter(|id| !list.contains(id)).collect::<Vec<_>>() {
                if let Some(last) = last.filter(|last| self.list[last.index()].strategy.runs_nothing()) {
                    let (name, last) = (shown(&self.list[id.index()].name), shown(&self.list[last.index()].name));
                    let finding = Finding::new(word.at, format!("the fallback `{name}` is never reached"));
                    reader.report(finding.label(format!("`{last}` before it ends the matter")));
                    return list;
                }
                self.check(reader, places, task, word, id);
                last = Some(id);
                list.push(id);
            }
        }
        list
    }

    /// It, and what is tried after it.
    fn follow(&self, id: FallbackId) -> Vec<FallbackId> {
        let (mut chain, mut seen) = (Vec::new(), vec![false; self.list.len()]);
        let mut next = vec![id];
        while let Some(id) = next.pop() {
            if !std::mem::replace(&mut seen[id.index()], true) {
                chain.push(id);
                next.extend(self.after[id.index()].iter().rev().map(|(after, _)| *after));
            }
        }
        chain
    }

    /// What of a fallback can do nothing for this task.
    fn check(&self, reader: &mut Reader, places: &Places<'_>, task: &TaskDefinition, word: &Word<'_>, id: FallbackId) {
        let FallbackDefinition { name, strategy } = &self.list[id.index()];
        let (name, own) = (shown(name), shown(&task.id));
        match strategy {
            FallbackStrategy::OtherAgent => {
                let able = places.able(&task.requirements);
                let same =
                    task.requirements.constraints.iter().any(|one| matches!(one, TaskConstraint::SameAgentAs(_)));
                if let ([only], _) | ([only, _], true) = (able.as_slice(), same) {
                    let only = if same { "one agent".to_owned() } else { format!("`{}`", shown(only)) };
                    let finding = Finding::new(word.at, format!("`{name}` needs another agent for `{own}`"));
                    reader.report(finding.label(format!("only {only} can run it")));
                }
            }
            FallbackStrategy::Degrade(less) => {
                for lower in &less.uses {
                    let resource = shown(&places.resources[lower.resource.index()].name);
                    let mut needs = task.requirements.resources.iter();
                    let finding = match needs.find(|need| need.resource == lower.resource) {
                        None => Finding::new(word.at, format!("`{own}` does not use `{resource}`"))
                            .label(format!("`{name}` would use less of it")),
                        Some(need) if lower.amount >= need.amount => {
                            Finding::new(word.at, format!("`{name}` is no less of `{resource}` than `{own}` uses"))
                                .label("not smaller")
                        }
                        Some(_) => continue,
                    };
                    reader.report(finding);
                }
            }
            _ => {}
        }
    }
}

fn strategy(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    resources: &[ResourceDefinition],
    key: &Word<'_>,
    node: &Node<'_>,
) -> Option<FallbackStrategy> {
    let word = match &node.kind {
        Kind::Struct(Some(name), _) | Kind::Tuple(Some(name), _) => name.text,
        Kind::Word(word) => word,
        _ => "",
    };
    match word {
        "Retry" => retry(reader, node, &RETRY_FALLBACK).map(FallbackStrategy::Retry),
        "OtherAgent" => reader.fields(node, &OTHER_AGENT).map(|_| FallbackStrategy::OtherAgent),
        "Degrade" => degrade(reader, scope, resources, node).map(FallbackStrategy::Degrade),
        "Skip" if matches!(node.kind, Kind::Word(_)) => Some(FallbackStrategy::Skip),
        "Escalate" => escalate(reader, node).map(FallbackStrategy::Escalate),
        "Compensate" if matches!(node.kind, Kind::Word(_)) => Some(FallbackStrategy::Compensate),
        "Alternative" => {
            let fields = reader.fields(node, &ALTERNATIVE)?;
            let what = || format!("the fallback `{}`", shown(key.text));
            command::read(reader, scope, None, node, &fields, what).map(FallbackStrategy::Alternative)
        }
        word => {
            let finding = Finding::new(head(node), format!("{} is no fallback", describe(node)));
            let finding = finding.label(format!("expected {}", STRATEGIES.join(", ")));
            reader.report(finding.maybe_help(did_you_mean(word, STRATEGIES)));
            None
        }
    }
}

fn degrade(
    reader: &mut Reader,
    scope: Scope<'_, '_>,
    resources: &[ResourceDefinition],
    node: &Node<'_>,
) -> Option<Degrade> {
    let fields = reader.fields(node, &DEGRADE)?;
    let mut references = Vec::new();
    let env = command::read_env(reader, scope, None, &fields, &mut references);
    let mut less = Degrade { env, references, uses: Vec::new() };
    for (key, value) in fields.get("uses").map(|node| reader.map(node, "uses")).unwrap_or_default() {
        let Some(index) = resources.iter().position(|resource| resource.name == key.text) else {
            unknown_resource(reader, resources, &key);
            continue;
        };
        let id = ResourceId::from(index);
        if resources[index].kind == ResourceKind::Lock && matches!(value.kind, Kind::Word("Exclusive")) {
            let finding = Finding::new(value.at, "`Exclusive` is all of a lock").label("not less");
            reader.report(finding.help("write Shared"));
        }
        if let Some(amount) = used(reader, resources, value, key.text, id) {
            less.uses.push(ResourceRequirement { resource: id, amount });
        }
    }
    less.uses.sort_unstable();
    if fields.get("env").is_none() && fields.get("uses").is_none() {
        let finding = Finding::new(head(node), "`Degrade` changes nothing").label("with less of what?");
        reader.report(finding.help("for example Degrade(uses: { \"mem\": \"1GiB\" }, env: { \"JOBS\": \"1\" })"));
    }
    Some(less)
}

const QUESTION: &str =
    "for example Escalate(\"The mirror is down.\"), or Escalate(text: \"…\", timeout: \"1h\", on_timeout: Skip)";

fn escalate(reader: &mut Reader, node: &Node<'_>) -> Option<Escalation> {
    let question = |reader: &mut Reader, node: &Node<'_>| {
        let word = reader.text(node, "Escalate")?;
        if word.text.trim().is_empty() || word.text.len() > MAX_QUESTION_BYTES {
            let message = format!("a question is a text of 1 to {MAX_QUESTION_BYTES} bytes");
            reader.report(Finding::new(node.at, message).label("what is asked?").help(QUESTION));
            return None;
        }
        Some(word.text.to_owned())
    };
    let plain = |text: String| Escalation { text, timeout: None, silence_skips: false };
    if let Kind::Tuple(_, items) = &node.kind
        && items.len() == 1
    {
        return question(reader, &items[0]).map(plain);
    }
    let fields = reader.fields(node, &ESCALATE)?;
    let timeout = fields.get("timeout").and_then(|node| reader.duration(node, "timeout", Zero::Refused));
    let silence = fields.get("on_timeout").and_then(|node| {
        if fields.get("timeout").is_none() {
            let finding = Finding::new(head(node), "`on_timeout` without `timeout`: it asks without end");
            reader.report(finding.label("after how long?").help(QUESTION));
        }
        reader.choice(node, "on_timeout", &[("Fail", false), ("Skip", true)])
    });
    let text = match fields.get("text") {
        Some(node) => question(reader, node)?,
        None => "it failed: what now?".to_owned(),
    };
    Some(Escalation { text, timeout, silence_skips: silence.unwrap_or_default() })
}
