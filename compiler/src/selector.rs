//! Label selectors, parsed once and normalised, so that equal selectors are equal values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, SelectorExt};
use serde::Serialize;

/// A label selector: every expression must match; without expressions it matches everything.
///
/// `matchLabels` and a one-valued `In` are the same expression here, and order is lost, so two
/// users who write the same thing differently share one address set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Selector(BTreeSet<Expression>);

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

    /// A label that every selected object has with one of some values, if the selector demands
    /// one: by it an index finds the selectors that may select an object.
    pub(crate) fn demanded(&self) -> Option<(&str, &BTreeSet<String>)> {
        self.0.iter().find_map(|expression| match expression {
            Expression::In(key, values) => Some((key.as_str(), values)),
            _ => None,
        })
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|expression| expression.matches(labels))
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    /// Holds a selector to the rules the API server has for built-in kinds; for custom resources
    /// nobody else does.
    fn try_from(selector: &LabelSelector) -> Result<Self, Self::Error> {
        let mut expressions = BTreeSet::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let values = BTreeSet::from([value.clone()]);
            expressions.insert(Expression::In(key.clone(), values));
        }
        for requirement in selector.match_expressions.iter().flatten() {
            let key = requirement.key.clone();
            let operator = requirement.operator.clone();
            let values: BTreeSet<String> = requirement.values.iter().flatten().cloned().collect();
            expressions.insert(match (operator.as_str(), values.is_empty()) {
                ("In", false) => Expression::In(key, values),
                ("NotIn", false) => Expression::NotIn(key, values),
                ("In" | "NotIn", true) => return Err(SelectorError::NoValues { key, operator }),
                ("Exists", true) => Expression::Exists(key),
                ("DoesNotExist", true) => Expression::DoesNotExist(key),
                ("Exists" | "DoesNotExist", false) => {
                    return Err(SelectorError::Values { key, operator });
                }
                _ => return Err(SelectorError::Operator { key, operator }),
            });
        }
        if expressions.iter().any(|e| key_of(e).is_empty()) {
            return Err(SelectorError::EmptyKey);
        }
        Ok(Self(expressions))
    }
}

fn key_of(expression: &Expression) -> &str {
    match expression {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("all");
        }
        for (index, expression) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match expression {
                Expression::In(key, values) if values.len() == 1 => {
                    let value = values.iter().next().map_or("", String::as_str);
                    write!(f, "{key}={value}")?;
                }
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        owned.collect()
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
        both.match_labels = Some(labels(&[("tier", "x")]));
        let selector = Selector::try_from(&both).unwrap();
        assert!(selector.matches(&labels(&[("tier", "x"), ("app", "y")])));
        assert!(!selector.matches(&labels(&[("tier", "x")])));
        assert!(!selector.matches(&labels(&[("app", "y")])));
    }

    #[test]
    fn empty_selector_matches_everything() {
        let selector = Selector::try_from(&LabelSelector::default()).unwrap();
        assert!(selector.is_all());
        assert!(selector.matches(&BTreeMap::new()));
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
            match_labels: Some(labels(&[("app", "web")])),
            match_expressions: None,
        };
        let by_label = Selector::try_from(&by_label).unwrap();
        let by_expression = Selector::try_from(&requirement("In", &["web"])).unwrap();
        assert_eq!(by_label, by_expression);
        assert_eq!(by_label.to_string(), "app=web");
    }
}
