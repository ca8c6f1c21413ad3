//! The filter language: `state:failed stage:build prio>40 lock:db -tag:slow text`. All terms must hold. Knows nothing of
//! how a filter is applied.

use std::cmp::Ordering;

use super::{Filter, FilterTerm, FilterTest, Phase};

/// At most so many terms.
const MAX_TERMS: usize = 32;
/// What can stand before a colon, for hints.
const FIELDS: [&str; 5] = ["state", "stage", "tag", "lock", "prio"];

/// Words for phases; some stand for several.
const STATES: &[(&str, &[Phase])] = &[
    ("running", &[Phase::Running, Phase::Stopping]),
    ("stopping", &[Phase::Stopping]),
    ("ready", &[Phase::Ready]),
    ("delayed", &[Phase::Delayed]),
    ("awaiting", &[Phase::Awaiting]),
    ("waiting", &[Phase::Waiting, Phase::Ready, Phase::Delayed, Phase::Awaiting]),
    ("held", &[Phase::Held, Phase::Lost]),
    ("blocked", &[Phase::Blocked]),
    ("failed", &[Phase::Failed, Phase::Lost]),
    ("lost", &[Phase::Lost]),
    ("cancelled", &[Phase::Cancelled]),
    ("skipped", &[Phase::Skipped]),
    ("done", &[Phase::Succeeded]),
    (
        "active",
        &[Phase::Running, Phase::Stopping, Phase::Ready, Phase::Delayed, Phase::Awaiting, Phase::Waiting, Phase::Held],
    ),
];

/// The filter that `text` means. Errors say what is wrong and what would be right.
pub fn parse(text: &str) -> Result<Filter, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() > MAX_TERMS {
        return Err(format!("at most {MAX_TERMS} terms"));
    }
    Ok(Filter { terms: words.into_iter().map(term).collect::<Result<_, _>>()? })
}

fn term(word: &str) -> Result<FilterTerm, String> {
    let (negated, word) = match word.strip_prefix('-').or_else(|| word.strip_prefix('!')) {
        Some(rest) if !rest.is_empty() => (true, rest),
        _ => (false, word),
    };
    Ok(FilterTerm { negated, test: test(word)? })
}

fn test(word: &str) -> Result<FilterTest, String> {
    if let Some((sign, value)) = priority(word) {
        let value = value.parse().map_err(|_| format!("prio needs a number, as in prio{sign}40"))?;
        let order = match sign {
            '>' => Ordering::Greater,
            '<' => Ordering::Less,
            _ => Ordering::Equal,
        };
        return Ok(FilterTest::Priority(order, value));
    }
    let Some((field, value)) = word.split_once(':') else { return Ok(FilterTest::Text(word.to_owned())) };
    if FIELDS.contains(&field) && value.is_empty() {
        return Err(format!("{field}: needs a value"));
    }
    match field {
        "state" => state(value),
        "stage" => Ok(FilterTest::Stage(value.to_owned())),
        "tag" => Ok(FilterTest::Tag(value.to_owned())),
        "lock" => Ok(FilterTest::Lock(value.to_owned())),
        // Names of tasks may hold a colon (`compile:core`): unless it is nearly one of ours, it is text.
        _ => match FIELDS.iter().find(|known| strsim::damerau_levenshtein(known, field) == 1) {
            Some(known) => Err(format!("no field “{field}”: did you mean {known}?")),
            None => Ok(FilterTest::Text(word.to_owned())),
        },
    }
}

/// The sign and the value of `prio>40`, `prio:40`, `prio=40`.
fn priority(word: &str) -> Option<(char, &str)> {
    let rest = word.strip_prefix("priority").or_else(|| word.strip_prefix("prio"))?;
    let sign = rest.chars().next().filter(|c| matches!(c, '>' | '<' | '=' | ':'))?;
    Some((sign, &rest[1..]))
}

fn state(value: &str) -> Result<FilterTest, String> {
    let mut phases = Vec::new();
    for word in value.split(',') {
        let Some((_, some)) = STATES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) else {
            let near = STATES.iter().min_by_key(|(name, _)| strsim::damerau_levenshtein(name, word));
            return Err(format!("no state “{word}”: did you mean {}?", near.map_or("", |(name, _)| name)));
        };
        phases.extend_from_slice(some);
    }
    Ok(FilterTest::State(phases))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_term_of_the_language_is_understood() {
        let filter = parse("state:failed,held stage:build prio>40 -tag:slow lock:db  core").unwrap();
        let term = |negated, test| FilterTerm { negated, test };
        let states = vec![Phase::Failed, Phase::Lost, Phase::Held, Phase::Lost];
        assert_eq!(
            filter.terms,
            [
                term(false, FilterTest::State(states)),
                term(false, FilterTest::Stage("build".into())),
                term(false, FilterTest::Priority(Ordering::Greater, 40)),
                term(true, FilterTest::Tag("slow".into())),
                term(false, FilterTest::Lock("db".into())),
                term(false, FilterTest::Text("core".into())),
            ]
        );
        assert_eq!(parse("  ").unwrap(), Filter::default());
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        let cases = [
            ("state:faild", "did you mean failed?"),
            ("stat:failed", "did you mean state?"),
            ("prio>high", "prio needs a number"),
            ("state:", "needs a value"),
        ];
        for (text, want) in cases {
            assert!(parse(text).unwrap_err().contains(want), "{text}");
        }
        assert_eq!(parse("compile:core").unwrap().terms[0].test, FilterTest::Text("compile:core".into()));
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in ".{0,60}") {
            let _ = parse(&text);
        }
    }
}
