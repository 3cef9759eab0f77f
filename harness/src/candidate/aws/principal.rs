//! Principals: the operator's one user, and a federated user per container, made by STS, with a policy on the ARN of its
//! secret (docs.aws.amazon.com/STS, `GetFederationToken`). A session's rights are those that its policy and the operator's
//! both give, and it ends by itself: nothing is left behind.

use aws_sdk_sts::Client;
use serde_json::{Value, json};

use super::Refusal;
use super::client::Key;

/// Seconds that a reader's key lives: longer than the longest cell, which waits for CloudTrail.
const LIFETIME_S: i32 = 3600;

/// What the operator's user must be allowed for secrets whose names begin with `scope`. A federated user gets no more than
/// the user who asks for it has, so reading is among it.
pub(super) fn operators_policy(scope: &str) -> Value {
    let actions = ["CreateSecret", "PutSecretValue", "DeleteSecret", "GetSecretValue", "DescribeSecret"];
    let actions = actions.map(|action| format!("secretsmanager:{action}"));
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": actions, "Resource": format!("arn:aws:secretsmanager:*:*:secret:{scope}-*") },
            { "Effect": "Allow", "Action": "sts:GetFederationToken", "Resource": "*" },
            { "Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*" },
        ],
    })
}

/// The account, as the operator's user sees it.
pub(super) struct Account {
    tokens: Client,
    region: String,
    number: String,
    /// The operator's user in CloudTrail.
    pub(super) user_name: String,
}

impl Account {
    /// Asks whose key it is.
    ///
    /// # Errors
    /// STS refuses the key, or cannot be reached.
    pub(super) async fn of(tokens: Client, region: &str) -> Result<Self, Refusal> {
        let caller = tokens.get_caller_identity().send().await;
        let caller = caller.map_err(|error| Refusal::of("ask whose key it is", &error))?;
        let number = caller.account().ok_or_else(|| Refusal::without("the account"))?.to_owned();
        let arn = caller.arn().ok_or_else(|| Refusal::without("the ARN"))?;
        let user_name = arn.rsplit('/').next().unwrap_or(arn).to_owned();
        Ok(Self { tokens, region: region.to_owned(), number, user_name })
    }

    /// A federated user who may read this secret and nothing else.
    ///
    /// # Errors
    /// STS refuses it, or cannot be reached.
    pub(super) async fn reader(&self, user: &str, secret: &str) -> Result<Key, Refusal> {
        // AWS ends a secret's ARN with six characters of its own.
        let arn = format!("arn:aws:secretsmanager:{}:{}:secret:{secret}-??????", self.region, self.number);
        let actions = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"];
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": { "Effect": "Allow", "Action": actions, "Resource": arn },
        });
        let made = self.tokens.get_federation_token().name(user).policy(policy.to_string());
        let made = made.duration_seconds(LIFETIME_S).send().await;
        let made = made.map_err(|error| Refusal::of("make a federated user", &error))?;
        let made = made.credentials().ok_or_else(|| Refusal::without("the key"))?;
        Ok(Key {
            id: made.access_key_id().into(),
            secret: made.secret_access_key().into(),
            session: Some(made.session_token().into()),
        })
    }
}
