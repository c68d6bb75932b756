//! What is published: the rules, what they do, and how often each did it.

use crate::asked::Asked;
use crate::classifier::{Classifier, TooLarge};
use crate::rates::RuleRates;
use crate::rule::{Action, OpeningRates, Rule};
use crate::set::AddressSet;
use crate::tally::Tally;
use ces_meter::Nanos;
use std::sync::Arc;

/// No limit.
const NONE: u32 = u32::MAX;

/// What a rule does where it decides.
#[derive(Clone, Copy, Debug)]
struct Deed {
    action: Action,
    log: bool,
    /// The number of its limit.
    limit: u32,
}

/// Rules, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    classifier: Classifier,
    deeds: Vec<Deed>,
    limits: Vec<OpeningRates>,
}

impl Rules {
    /// These rules, in their order, with the large sets that they name.
    pub fn new(rules: &[Rule], sets: Vec<AddressSet>) -> Result<Self, TooLarge> {
        let mut limits = Vec::new();
        let deed = |rule: &Rule| Deed {
            action: rule.action,
            log: rule.log,
            limit: if rule.limits == OpeningRates::NONE {
                NONE
            } else {
                limits.push(rule.limits);
                limits.len() as u32 - 1
            },
        };
        let deeds = rules.iter().map(deed).collect();
        Ok(Self { classifier: Classifier::new(rules, sets)?, deeds, limits })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.deeds.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.deeds.is_empty()
    }

    /// The first rule that fits, and what it does.
    pub fn find(&self, asked: &Asked) -> Option<(usize, Action)> {
        self.classifier.find(asked).map(|rule| (rule, self.deeds[rule].action))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.classifier.bytes()
    }
}

/// What becomes of a session that is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is opened.
    Opened,
    /// Its packet is dropped.
    Denied,
    /// The same, and its sender is told.
    Rejected,
    /// Its packet is dropped: the rule opens no more of them now.
    Exceeded,
}

impl Ruling {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Opened => "allow",
            Self::Denied => "deny",
            Self::Rejected => "reject",
            Self::Exceeded => "too many",
        }
    }
}

/// What a rule has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its number.
    pub rule: u32,
    /// What becomes of the session.
    pub fate: Ruling,
    /// Whether that is to be told.
    pub log: bool,
}

/// The filter: rules in force.
#[derive(Debug)]
pub struct Filter {
    rules: Arc<Rules>,
    rates: RuleRates,
    decided: Tally,
    exceeded: Tally,
}

impl Filter {
    /// Of these rules, asked by so many workers. Each rate begins with a second's worth of sessions.
    pub fn new(rules: Arc<Rules>, workers: usize) -> Self {
        let rates = RuleRates::new(&rules.limits, workers);
        // Without a limit, none is exceeded.
        let limited = if rules.limits.is_empty() { 0 } else { rules.len() };
        let (decided, exceeded) = (Tally::new(rules.len(), workers), Tally::new(limited, workers));
        Self { rules, rates, decided, exceeded }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What becomes of a session that a worker is asked to open; it is counted. `None`: no rule decides.
    pub fn decide(&self, worker: usize, asked: &Asked, now: Nanos) -> Option<Decision> {
        let rule = self.rules.classifier.find(asked)?;
        let Deed { action, log, limit } = self.rules.deeds[rule];
        self.decided.count(worker, rule);
        let fate = match action {
            Action::Allow if limit != NONE && !self.rates.take(limit, worker, asked.source, now) => {
                self.exceeded.count(worker, rule);
                Ruling::Exceeded
            }
            Action::Allow => Ruling::Opened,
            Action::Deny => Ruling::Denied,
            Action::Reject => Ruling::Rejected,
        };
        Some(Decision { rule: rule as u32, fate, log })
    }

    /// How often each rule has decided.
    pub fn counts(&self) -> Vec<u64> {
        self.decided.totals()
    }

    /// How often each rule has opened no session because of its rate; empty where no rule has one.
    pub fn exceeded(&self) -> Vec<u64> {
        self.exceeded.totals()
    }
}
