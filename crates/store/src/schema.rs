//! The schema, as an ordered list of steps. `user_version` counts the steps that a database has; a step and its count
//! are one transaction.

use crate::error::OpenError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use std::path::Path;

const STEPS: [&str; 5] = [
    include_str!("schema/0001_sessions.sql"),
    include_str!("schema/0002_resources.sql"),
    include_str!("schema/0003_hosted_sessions.sql"),
    include_str!("schema/0004_events_by_id.sql"),
    include_str!("schema/0005_spare_sandboxes.sql"),
];

pub(crate) async fn connect_and_migrate(
    options: &SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, OpenError> {
    let wrong = |source| OpenError::database(path.to_owned(), source);
    let mut connection = options.connect().await.map_err(wrong)?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut connection)
        .await
        .map_err(wrong)?;
    let known = STEPS.len() as i64;
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, step) in (1_i64..).zip(STEPS).skip(usize::try_from(found).unwrap_or(0)) {
        apply(&mut connection, version, step).await.map_err(|source| {
            match OpenError::database(path.to_owned(), source) {
                OpenError::Database { path, source } => OpenError::Migrate {
                    path,
                    version,
                    source,
                },
                full => full,
            }
        })?;
    }
    Ok(connection)
}

async fn apply(
    connection: &mut SqliteConnection,
    version: i64,
    step: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(step).execute(&mut *transaction).await?;
    // A pragma takes no parameter; the version is our own number.
    sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {version}")))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
