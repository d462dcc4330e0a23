#!/usr/bin/env bash
# The package for Debian: installed, upgraded, removed and purged by dpkg.
# shellcheck disable=SC2317 source-path=SCRIPTDIR source=lib.sh # called by name
. /tests/lib.sh

package=$(echo /tests/mote_*.deb)
newer=$(echo /tests/new/mote_*.deb)
state() { dpkg-query -W -f '${db:Status-Abbrev}' mote 2>/dev/null | tr -d ' '; }

expect_code 0 "installs" dpkg --install "$package"
expect "and says what is missing" holds "put the API key into /etc/mote/datadog.yaml" "$output"
expect "it is installed" same ii "$(state)"
expect "the program runs" same "mote 0" "$(mote version | cut -d. -f1)"
expect "it has a user" getent passwd mote
expect "who cannot log in" same /usr/sbin/nologin "$(getent passwd mote | cut -d: -f7)"
expect "the settings are for root and the agent" same "640 root mote" "$(owned /etc/mote/datadog.yaml)"
expect "variables are for root" same "640 root root" "$(owned /etc/default/mote)"
expect "the program is root's" same "755 root root" "$(owned /usr/bin/mote)"
expect "the service starts with the machine" test -L /etc/systemd/system/multi-user.target.wants/mote.service
expect "no file was changed" same "" "$(dpkg --verify mote)"
expect_code 78 "the settings that come with it lack only the key" mote check
expect "the line says so" holds "error: no API key" "$output"
expect "and nothing else is wrong with them" not holds "warning:" "$output"
expect "nor unknown" not holds "no setting is called" "$output"

echo 'api_key: 0123456789abcdef0123456789abcdef' >>/etc/mote/datadog.yaml
echo 'DD_SITE=datadoghq.eu' >>/etc/default/mote
mkdir -p /var/lib/mote/spool && touch /var/lib/mote/spool/kept
# The new package's own file has not changed, so there is nothing to ask; with no answer possible dpkg would fail.
expect_code 0 "upgrades" dpkg --install "$newer"
expect "to the new version" same 99.0 "$(dpkg-query -W -f '${Version}' mote)"
expect "the settings stay" says '^api_key: 0123' /etc/mote/datadog.yaml
expect "and their owner" same "640 root mote" "$(owned /etc/mote/datadog.yaml)"
expect "the variables stay" says '^DD_SITE' /etc/default/mote
expect_code 0 "the agent would start with them" mote check

expect_code 0 "is removed" dpkg --remove mote
expect "the program is gone" not test -e /usr/bin/mote
expect "and the unit" not test -e /lib/systemd/system/mote.service
expect "the settings stay" says '^api_key: 0123' /etc/mote/datadog.yaml
expect "and what could not be delivered" test -e /var/lib/mote/spool/kept
expect_code 0 "comes back" dpkg --install "$newer"
expect "with its settings" says '^api_key: 0123' /etc/mote/datadog.yaml
expect "and not masked" not test -e /etc/systemd/system/mote.service

touch /etc/mote/api_key
expect_code 0 "is purged" dpkg --purge mote
expect "nothing is known of it" same "" "$(state)"
expect "its folder is gone" not test -e /var/lib/mote
expect "the settings are gone" not test -e /etc/mote/datadog.yaml
expect "the variables are gone" not test -e /etc/default/mote
expect "what the administrator put there stays" test -e /etc/mote/api_key
expect "its user is gone" not getent passwd mote
expect "its links are gone" same "" "$(find /etc/systemd /var/lib/systemd -name 'mote.service*')"

finish_test
