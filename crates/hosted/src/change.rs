//! What an update of a session comes to. Pure.

use crate::made::{Made, budgetable, cost, toolset};
use control::{Budgeting, Changed, Refused};
use domain::Cost;
use serde_json::{Value, json};
use wire::sessions::{BudgetInput, Update};
use wire::{Body, Budget, Patch, metadata};

pub(crate) fn decide(row: &store::Session, update: Update, spent: Cost) -> Result<Changed, Refused> {
    let mut made = Made::of(row).map_err(|error| refused(None, error.to_string()))?;
    let before = made.clone();
    let mut title = row.title.clone();
    update.title.apply(&mut title);
    metadata::apply(update.metadata.unwrap_or_default(), &mut made.metadata)?;
    change_budget(&mut made, update.budget, spent)?;
    if let Some(agent) = update.agent {
        made.agent.set_tools(agent.tools);
    }
    let tools_change = made.agent != before.agent;
    let budget_changes = made.budget != before.budget;
    let told = Body::SessionUpdated {
        agent: tools_change.then(|| written(&made.agent)),
        budget: budget_changes.then(|| written(&made.budget)),
        metadata: (made.metadata != before.metadata && !made.metadata.is_empty())
            .then(|| written(&made.metadata)),
        title: (title != row.title).then(|| json!(title)),
    };
    let changes = tools_change || budget_changes || made.metadata != before.metadata || title != row.title;
    Ok(Changed {
        title,
        resource: written(&made),
        budget: match &made.budget {
            _ if !budget_changes => Budgeting::Same,
            Some(budget) => Budgeting::Limit(cost(budget)),
            None => Budgeting::Unlimited,
        },
        tools: tools_change.then(|| toolset(&made.agent)),
        told: changes.then_some(told),
    })
}

fn change_budget(made: &mut Made, change: Patch<BudgetInput>, spent: Cost) -> Result<(), Refused> {
    match change {
        Patch::Keep => Ok(()),
        Patch::Clear => {
            made.budget = None;
            Ok(())
        }
        Patch::Set(_) if made.budget.is_none() => Err(refused(
            Some("budget_create_only"),
            "a budget cannot be added to a session: give it when the session is made".to_owned(),
        )),
        Patch::Set(input) => {
            budgetable(&made.agent)?;
            let budget = Budget::from(input);
            if cost(&budget) <= spent {
                let message = format!("the session has spent {spent} already: give it a higher budget");
                return Err(refused(Some("budget_not_raised"), message));
            }
            made.budget = Some(budget);
            Ok(())
        }
    }
}

fn refused(code: Option<&'static str>, message: String) -> Refused {
    Refused {
        code,
        message,
        conflict: false,
    }
}

fn written<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
