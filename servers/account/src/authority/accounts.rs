//! Accounts: their names, passwords, and what administrators may change about them.

use ntm_server::clock::unix_now;
use serde::{Deserialize, Serialize};

use super::audit::note;
use super::{Authority, Caller, sessions};
use crate::passwords::PasswordHash;
use crate::records::Account;
use crate::refusal::{Code, Refusal};
use crate::store::{END, Range, Table, Transaction};

const SHORTEST_NAME: usize = 2;
const LONGEST_NAME: usize = 64;
const COUNTER: &str = "accounts";
/// Names that would be mistaken for somebody else in the audit log.
const RESERVED: [&str; 3] = ["operator", "nobody", "ntm"];

/// What is known of the password of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPassword {
    pub hash: PasswordHash,
    pub disabled: bool,
}

/// What an administrator changes; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
}

/// The account that `text` names: small letters, digits and `. _ @ + -`, beginning with a letter or digit.
pub fn account_name(text: &str) -> Result<String, Refusal> {
    let name = text.trim().to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._@+-".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !(SHORTEST_NAME..=LONGEST_NAME).contains(&name.len()) || !begins_well || !name.bytes().all(allowed) {
        return Err(Refusal::invalid(format!(
            "an account's name has {SHORTEST_NAME} to {LONGEST_NAME} letters, digits or . _ @ + - and begins with a \
             letter or a digit"
        )));
    }
    Ok(name)
}

impl Authority {
    pub fn add_account(&self, by: &Caller, name: &str, password: &PasswordHash, admin: bool) -> Result<(), Refusal> {
        let most = self.rules().sign_up.max_accounts;
        if RESERVED.contains(&name) {
            return Err(taken());
        }
        self.write(|tx| {
            if tx.get(Table::Accounts, name)?.is_some() {
                return Err(taken());
            }
            if tx.count_up(COUNTER)? >= most {
                return Err(Refusal::new(Code::Full, "the domain has as many accounts as it may have"));
            }
            let created = unix_now().as_millis();
            let account = Account { admin, disabled: false, created, password: password.clone() };
            tx.save(Table::Accounts, name, &account)?;
            Ok(note(tx, by, if admin { "administrator added" } else { "account added" }, name)?)
        })
    }

    /// Whether the name is free: asked before a password is hashed for nothing.
    pub fn check_account_is_free(&self, name: &str) -> Result<(), Refusal> {
        match self.read(|tx| tx.get(Table::Accounts, name))? {
            None if !RESERVED.contains(&name) => Ok(()),
            _ => Err(taken()),
        }
    }

    pub fn known_password(&self, name: &str) -> Result<Option<KnownPassword>, Refusal> {
        let account: Option<Account> = self.read(|tx| tx.find(Table::Accounts, name))?;
        Ok(account.map(|account| KnownPassword { hash: account.password, disabled: account.disabled }))
    }

    /// Sets a password, which ends all sessions of the account.
    pub fn set_password(&self, by: &Caller, name: &str, password: &PasswordHash) -> Result<(), Refusal> {
        self.write(|tx| {
            let mut account = account(tx, name)?;
            account.password = password.clone();
            tx.save(Table::Accounts, name, &account)?;
            sessions::end_all(tx, name)?;
            Ok(note(tx, by, "password changed", name)?)
        })
    }

    /// Keeps the same password under today's cost. Changes nothing else, so it needs no line in the log.
    pub fn renew_hash(&self, name: &str, from: &PasswordHash, to: &PasswordHash) -> Result<(), Refusal> {
        self.write(|tx| {
            let mut account = account(tx, name)?;
            if account.password == *from {
                account.password = to.clone();
                tx.save(Table::Accounts, name, &account)?;
            }
            Ok(())
        })
    }

    pub fn change_account(&self, by: &Caller, name: &str, change: AccountChange) -> Result<Account, Refusal> {
        if by.account == name && (change.disabled == Some(true) || change.admin == Some(false)) {
            return Err(Refusal::new(
                Code::NotAllowed,
                "nobody can shut themselves out: let another administrator do it",
            ));
        }
        self.write(|tx| {
            let mut account = account(tx, name)?;
            if let Some(disabled) = change.disabled.filter(|disabled| *disabled != account.disabled) {
                account.disabled = disabled;
                note(tx, by, if disabled { "account disabled" } else { "account enabled" }, name)?;
            }
            if let Some(admin) = change.admin.filter(|admin| *admin != account.admin) {
                account.admin = admin;
                note(tx, by, if admin { "made administrator" } else { "made ordinary" }, name)?;
            }
            if account.disabled {
                sessions::end_all(tx, name)?;
            }
            tx.save(Table::Accounts, name, &account)?;
            Ok(account)
        })
    }

    /// Accounts in the order of their names, those after `after`.
    pub fn accounts(&self, after: &str, limit: usize) -> Result<Vec<(String, Account)>, Refusal> {
        // A space comes before all that a name may go on with.
        let from = format!("{after} ");
        Ok(self.read(|tx| tx.list(Table::Accounts, Range { from: &from, until: END, limit, backwards: false }))?)
    }
}

/// The account, if it is there and may do something.
pub(super) fn active(tx: &mut dyn Transaction, name: &str) -> Result<Account, Refusal> {
    let found: Option<Account> = tx.find(Table::Accounts, name)?;
    found.filter(|account| !account.disabled).ok_or_else(Refusal::credentials)
}

fn account(tx: &mut dyn Transaction, name: &str) -> Result<Account, Refusal> {
    tx.find(Table::Accounts, name)?.ok_or_else(|| Refusal::not_found("account"))
}

fn taken() -> Refusal {
    Refusal::new(Code::Taken, "this account name is taken")
}
