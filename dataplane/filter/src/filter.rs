//! What is published: the rules, what they do, and how often each did it.

use crate::classifier::{Classifier, TooLarge};
use crate::rule::{Action, Asked, Rule};
use crate::set::AddressSet;
use crate::tally::Tally;
use std::sync::Arc;

/// Rules, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    classifier: Classifier,
    actions: Vec<Action>,
}

impl Rules {
    /// These rules, in their order, with the large sets that they name.
    pub fn new(rules: &[Rule], sets: Vec<AddressSet>) -> Result<Self, TooLarge> {
        let actions = rules.iter().map(|rule| rule.action).collect();
        Ok(Self { classifier: Classifier::new(rules, sets)?, actions })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The first rule that fits, and what it does.
    pub fn find(&self, asked: &Asked) -> Option<(usize, Action)> {
        self.classifier.find(asked).map(|rule| (rule, self.actions[rule]))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.classifier.bytes()
    }
}

/// The filter: rules in force.
#[derive(Debug)]
pub struct Filter {
    rules: Arc<Rules>,
    tally: Tally,
}

impl Filter {
    /// Of these rules, asked by so many workers.
    pub fn new(rules: Arc<Rules>, workers: usize) -> Self {
        let tally = Tally::new(rules.len(), workers);
        Self { rules, tally }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A rule has decided for a worker.
    pub fn count(&self, worker: usize, rule: usize) {
        self.tally.count(worker, rule);
    }

    /// How often each rule has decided.
    pub fn counts(&self) -> Vec<u64> {
        self.tally.totals()
    }
}
