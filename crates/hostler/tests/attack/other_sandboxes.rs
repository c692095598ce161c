//! P10 to P13: two sandboxes of one machine have nothing in common.

use crate::place::Machine;
use sandbox::Backend as _;

#[tokio::test]
async fn another_sandboxs_files_are_not_there() {
    let machine = Machine::start().await;
    let (one, other) = (machine.sandbox().await, machine.sandbox().await);
    let places = "/tmp /var/tmp /home/agent /dev/shm /workspace /run/lock";
    let write = format!(
        "for place in {places}; do echo of-one > $place/of-one-$$ || exit 1; done; chmod -R a+rX /home/agent"
    );
    let written = one.sh(&write).await;
    assert!(written.succeeded(), "{written:?}");
    let search = "for top in / /proc/*/root /proc/*/cwd; do find $top/ -path '*/usr' -prune -o -path '*/proc' -prune -o \
                  -name 'of-one-*' -print; done 2>/dev/null | sed 's,.*//*\\([^/]*/of-one\\)-.*,\\1,' | sort -u | wc -l";
    let (found, nothing) = (one.sh(search).await, other.sh(search).await);
    assert_eq!(
        found.text.trim(),
        "6",
        "the control: they are where they were written"
    );
    assert_eq!(nothing.text.trim(), "0");
    // Nor in the next sandbox, which may get what the first one leaves.
    machine.backend.destroy(&one.id).await.unwrap();
    assert_eq!(machine.sandbox().await.sh(search).await.text.trim(), "0");
}
