//! Label selectors, parsed once and normalised, so that equal selectors are equal values.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Serialize, Serializer};

use crate::facts::Name;
use crate::k8s::lean;
use crate::labels::Labels;

/// A label selector: every expression must match; without expressions it matches everything.
///
/// `matchLabels` and a one-valued `In` are the same expression here, and order is lost, so two
/// users who write the same thing differently share one address set. Copies share the expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<[Expression]>);

/// One expression. Values are sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
enum Expression {
    In(Name, Box<[Name]>),
    NotIn(Name, Box<[Name]>),
    Exists(Name),
    DoesNotExist(Name),
}

impl Expression {
    fn label(key: Name, value: Name) -> Self {
        Self::In(key, Box::new([value]))
    }

    fn new(key: Name, operator: &str, values: impl Iterator<Item = Name>) -> Result<Self, SelectorError> {
        let values: BTreeSet<Name> = values.collect();
        let values: Box<[Name]> = values.into_iter().collect();
        let refused =
            |error: fn(String, String) -> SelectorError| error(key.to_string(), operator.to_owned());
        match (operator, values.is_empty()) {
            ("In", false) => Ok(Self::In(key, values)),
            ("NotIn", false) => Ok(Self::NotIn(key, values)),
            ("Exists", true) => Ok(Self::Exists(key)),
            ("DoesNotExist", true) => Ok(Self::DoesNotExist(key)),
            ("In" | "NotIn", true) => Err(refused(|key, operator| SelectorError::NoValues { key, operator })),
            ("Exists" | "DoesNotExist", false) => {
                Err(refused(|key, operator| SelectorError::Values { key, operator }))
            }
            _ => Err(refused(|key, operator| SelectorError::Operator { key, operator })),
        }
    }

    fn key(&self) -> &Name {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key());
        match self {
            Self::In(_, values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(_, values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists(_) => value.is_some(),
            Self::DoesNotExist(_) => value.is_none(),
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// The selector can't be used. The message says which part and what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The operator is none of Kubernetes'.
    #[error("operator {operator:?} of key {key:?} is unknown: use In, NotIn, Exists or DoesNotExist")]
    Operator {
        /// Label key.
        key: String,
        /// What was written.
        operator: String,
    },
    /// In and NotIn need values.
    #[error("operator {operator} of key {key:?} needs at least one value")]
    NoValues {
        /// Label key.
        key: String,
        /// In or NotIn.
        operator: String,
    },
    /// Exists and DoesNotExist take no values.
    #[error("operator {operator} of key {key:?} takes no values: remove them")]
    Values {
        /// Label key.
        key: String,
        /// Exists or DoesNotExist.
        operator: String,
    },
    /// A label key can't be empty.
    #[error("a label key is empty")]
    EmptyKey,
}

impl Selector {
    /// The selector that matches everything (`{}`).
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether the selector matches everything.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    fn of(
        expressions: impl Iterator<Item = Result<Expression, SelectorError>>,
    ) -> Result<Self, SelectorError> {
        let mut expressions = expressions.collect::<Result<Vec<Expression>, _>>()?;
        if expressions.iter().any(|expression| expression.key().is_empty()) {
            return Err(SelectorError::EmptyKey);
        }
        expressions.sort_unstable();
        expressions.dedup();
        Ok(match expressions.is_empty() {
            true => Self::all(),
            false => Self(expressions.into()),
        })
    }

    /// A label that every selected object has with one of some values, if the selector demands
    /// one: by it an index finds the selectors that may select an object.
    pub(crate) fn demanded(&self) -> Option<(&Name, &[Name])> {
        self.0.iter().find_map(|expression| match expression {
            Expression::In(key, values) => Some((key, &**values)),
            _ => None,
        })
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|expression| expression.matches(labels))
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    /// Holds a selector to the rules the API server has for built-in kinds; for custom resources
    /// nobody else does.
    fn try_from(selector: &LabelSelector) -> Result<Self, Self::Error> {
        let labels = selector.match_labels.iter().flatten();
        let labels = labels.map(|(key, value)| Expression::label(key.into(), value.into()));
        let requirements = selector.match_expressions.iter().flatten().map(|requirement| {
            let values = requirement.values.iter().flatten().map(Name::from);
            Expression::new(requirement.key.as_str().into(), &requirement.operator, values)
        });
        Self::of(labels.map(Ok).chain(requirements))
    }
}

impl TryFrom<&lean::LabelSelector> for Selector {
    type Error = SelectorError;

    /// The same.
    fn try_from(selector: &lean::LabelSelector) -> Result<Self, Self::Error> {
        let labels = selector.match_labels.iter();
        let labels = labels.map(|(key, value)| Expression::label(key.clone(), value.clone()));
        let requirements = selector.match_expressions.iter().flatten().map(|requirement| {
            let values = requirement.values.iter().flatten().cloned();
            Expression::new(requirement.key.clone(), &requirement.operator, values)
        });
        Self::of(labels.map(Ok).chain(requirements))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        for (index, expression) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match expression {
                Expression::In(key, values) => match &**values {
                    [value] => write!(f, "{key}={value}")?,
                    values => write!(f, "{key} in ({})", values.join(","))?,
                },
                Expression::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Expression::Exists(key) => write!(f, "{key}")?,
                Expression::DoesNotExist(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn requirement(operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "app".into(),
                operator: operator.into(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            }]),
            match_labels: None,
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn operators_match_as_kubernetes_says() {
        let web = labels(&[("app", "web")]);
        let other = labels(&[("tier", "x")]);
        for (operator, values, on_web, on_other) in [
            ("In", &["web", "db"][..], true, false),
            ("In", &["db"][..], false, false),
            ("NotIn", &["web"][..], false, true),
            ("NotIn", &["db"][..], true, true),
            ("Exists", &[][..], true, false),
            ("DoesNotExist", &[][..], false, true),
        ] {
            let selector = Selector::try_from(&requirement(operator, values)).unwrap();
            assert_eq!(selector.matches(&web), on_web, "{operator} {values:?} web");
            assert_eq!(selector.matches(&other), on_other, "{operator} {values:?} other");
        }
    }

    #[test]
    fn labels_and_expressions_are_all_required() {
        let mut both = requirement("Exists", &[]);
        both.match_labels = Some(BTreeMap::from([("tier".into(), "x".into())]));
        let selector = Selector::try_from(&both).unwrap();
        assert!(selector.matches(&labels(&[("tier", "x"), ("app", "y")])));
        assert!(!selector.matches(&labels(&[("tier", "x")])));
        assert!(!selector.matches(&labels(&[("app", "y")])));
    }

    #[test]
    fn empty_selector_matches_everything() {
        let selector = Selector::try_from(&LabelSelector::default()).unwrap();
        assert!(selector.is_all());
        assert!(selector.matches(&Labels::default()));
    }

    #[test]
    fn unusable_selectors_are_refused() {
        for (operator, values) in [
            ("in", &["web"][..]),
            ("Gt", &["1"][..]),
            ("In", &[][..]),
            ("NotIn", &[][..]),
            ("Exists", &["web"][..]),
            ("DoesNotExist", &["web"][..]),
        ] {
            let refused = Selector::try_from(&requirement(operator, values));
            assert!(refused.is_err(), "{operator} {values:?}");
        }
    }

    #[test]
    fn spelling_does_not_matter() {
        let by_label = LabelSelector {
            match_labels: Some(BTreeMap::from([("app".into(), "web".into())])),
            match_expressions: None,
        };
        let by_label = Selector::try_from(&by_label).unwrap();
        let by_expression = Selector::try_from(&requirement("In", &["web"])).unwrap();
        assert_eq!(by_label, by_expression);
        assert_eq!(by_label.to_string(), "app=web");
    }
}
