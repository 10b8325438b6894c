#!/usr/bin/env bash
# Puts keytide into an organization, and takes it out again: `make deploy`, `make destroy`. The guide is DEPLOY.md.
#
#   infra/deploy.sh deploy     everything is checked, said and asked about before anything is done; again, it updates
#   infra/deploy.sh destroy    the same the other way round; the ledger, the logs and the packages stay
#
#   DRY=1            looks, and prints each command that would change something instead of running it
#   YES=1            does not ask
#   DEPLOYMENT=file  the settings, instead of infra/deployment.env
#   PACKAGES=folder  what `make package` made, instead of target/package
#
# What is looked at before stands in deploy-checks.sh. Both run by bash 3.2, as macOS has it, and either AWS CLI, 1 or 2.
set -euo pipefail

# IAM's events are in this region and nowhere else, whatever a profile says.
readonly REGION=us-east-1
# Who lets StackSets into the organization's accounts says so by this name.
readonly STACKSETS=member.org.stacksets.cloudformation.amazonaws.com
infra=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly infra
readonly deployment=${DEPLOYMENT:-$infra/deployment.env} packages=${PACKAGES:-$infra/../target/package}
# Nothing waits for a key on a pager.
export AWS_PAGER=

# --- Saying -----------------------------------------------------------------------------------------------------------

problems=()
problem() { problems+=("$1"); }
say() { printf '%s\n' "$*"; }
stop() { say "keytide: $1" >&2; exit 1; }

# Whatever is wrong is named at once, before anything is done.
stop_at_problems() {
  ((${#problems[@]})) || return 0
  say "keytide: nothing was done, because of" >&2
  printf -- '- %s\n' "${problems[@]}" >&2
  exit 1
}

# --- AWS --------------------------------------------------------------------------------------------------------------

in_security() { aws --region "$REGION" ${SECURITY_PROFILE:+--profile "$SECURITY_PROFILE"} "$@"; }
in_organization() { aws --region "$REGION" ${ORGANIZATION_PROFILE:+--profile "$ORGANIZATION_PROFILE"} "$@"; }

# The same as somebody would type it.
typed() {
  local profile=$SECURITY_PROFILE
  [[ $1 == in_security ]] || profile=$ORGANIZATION_PROFILE
  printf 'aws'
  printf ' %q' --region "$REGION" ${profile:+--profile "$profile"} "${@:2}"
}

# Runs what changes something, or says what it would be.
change() {
  local failed=0
  if [[ -z ${DRY:-} ]]; then "$@" >/dev/null || failed=$?; else say "  would run: $(typed "$@")"; fi
  ((failed == 0)) || say_of_stack "$@" >&2
  return "$failed"
}

# Of a stack the AWS CLI waits for an hour at most. In a large organization StackSets take longer, and nothing is wrong then.
say_of_stack() {
  local stack=" $* "
  [[ $stack == *" --stack-name "* ]] || return 0
  stack=${stack#* --stack-name }
  stack=${stack%% *}
  say
  say "keytide: that failed, or the AWS CLI gave up waiting after an hour. What became of the stack $stack, newest first:"
  say "  $(typed "$1" cloudformation describe-stack-events --stack-name "$stack" --max-items 50)"
  say "Where the stack's own status still ends in _IN_PROGRESS nothing is wrong: run this again at its end."
}

# Asks AWS. `answer` is what it said; without success, `refusal` is why, on one line.
ask() {
  local errors failed=0
  errors=$(mktemp)
  answer=$("$@" --output text 2>"$errors") || failed=$?
  refusal=
  if ((failed)); then
    refusal=$(tr -s '\n ' ' ' <"$errors" | sed 's/^ //; s/ $//')
    refusal=${refusal:-it ended with $failed and said nothing}
  fi
  rm -f "$errors"
  return "$failed"
}

# shellcheck source-path=SCRIPTDIR source=deploy-checks.sh
source "$infra/deploy-checks.sh"

# --- Deploy -----------------------------------------------------------------------------------------------------------

make_bucket() {
  [[ -n $bucket_is_there ]] || change in_security s3api create-bucket --bucket "$PACKAGES_BUCKET"
  local ours=(--bucket "$PACKAGES_BUCKET" --expected-bucket-owner "$SECURITY_ACCOUNT_ID")
  change in_security s3api put-public-access-block "${ours[@]}" --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
  change in_security s3api put-bucket-versioning "${ours[@]}" --versioning-configuration Status=Enabled
  change in_security s3api put-bucket-encryption "${ours[@]}" --server-side-encryption-configuration \
    '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'
  # The account that deploys the organization's stack reads the members' template, and nothing else.
  change in_security s3api put-bucket-policy "${ours[@]}" --policy '{"Version":"2012-10-17","Statement":[
    {"Sid":"ReadTheMembersTemplate","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::'"$ORGANIZATION_ACCOUNT_ID"':root"},
     "Action":"s3:GetObject","Resource":"arn:aws:s3:::'"$PACKAGES_BUCKET"'/templates/*"},
    {"Sid":"NothingUnencrypted","Effect":"Deny","Principal":"*","Action":"s3:*",
     "Resource":["arn:aws:s3:::'"$PACKAGES_BUCKET"'","arn:aws:s3:::'"$PACKAGES_BUCKET"'/*"],
     "Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}'
}

# A file's SHA-256 as S3 gives it: in base 64.
checksum() { printf '%b' "$(digest <"$1" | cut -c 1-64 | sed 's/../\\x&/g')" | base64; }

# What is there by this name may be another build's, or half of this one. S3 takes nothing whose checksum is another one.
upload() {
  local file=$1 key=$2 sum
  sum=$(checksum "$file")
  local object=(--bucket "$PACKAGES_BUCKET" --key "$key" --expected-bucket-owner "$SECURITY_ACCOUNT_ID")
  if ask in_security s3api head-object "${object[@]}" --checksum-mode ENABLED --query ChecksumSHA256 &&
    [[ $answer == "$sum" ]]; then say "  $key is there already"; return; fi
  change in_security s3api put-object "${object[@]}" --body "$file" --checksum-algorithm SHA256 \
    --checksum-sha256 "$sum"
}

deploy() {
  check_packages
  stop_at_problems
  check_credentials
  stop_at_problems
  check_organization
  check_bucket
  check_secret
  check_updatable in_security "$PREFIX"
  [[ -n $status ]] || check_leftovers
  check_updatable in_organization "$PREFIX-organization"
  stop_at_problems
  local template enforced also='' besides=''
  if [[ $call_as == SELF ]]; then
    also=", and into the management account $management_account"
    besides=", and the management account, which gets its part too"
  fi
  template=templates/member-account-$(digest "$infra/member-account.yaml" | cut -c 1-12).yaml
  enforced=templates/enforced-account-$(digest "$infra/enforced-account.yaml" | cut -c 1-12).yaml
  say "keytide will, in $REGION,"
  say "1. ${bucket_is_there:-make} the bucket $PACKAGES_BUCKET in account $SECURITY_ACCOUNT_ID: private, versioned, encrypted;"
  say "2. put $watcher, $sweeper and the members' templates into it;"
  say "3. deploy the stack $PREFIX in account $SECURITY_ACCOUNT_ID: bus, queues, ledger, both functions, alarms to $ALARM_EMAIL;"
  say "4. deploy the stack $PREFIX-organization in account $ORGANIZATION_ACCOUNT_ID, which puts rules and roles into every"
  say "   account below $ORGANIZATIONAL_UNIT_IDS, those that join later among them$also."
  say "The role that disables will be in: ${ENFORCED_ACCOUNT_IDS:-no account}$(in_management_account)."
  [[ $ORGANIZATIONAL_UNIT_IDS == r-* || -n $ACCOUNTS$INCLUDE_ACCOUNTS$EXCLUDE_ACCOUNTS ]] ||
    say "Every account of the organization will be swept: name those below these units in INCLUDE_ACCOUNTS$besides."
  confirm

  say "1. the bucket" && make_bucket
  say "2. the packages"
  upload "$packages/$watcher" "functions/$watcher"
  upload "$packages/$sweeper" "functions/$sweeper"
  upload "$infra/member-account.yaml" "$template"
  upload "$infra/enforced-account.yaml" "$enforced"
  say "3. the security account's stack (some minutes)"
  change in_security cloudformation deploy --stack-name "$PREFIX" --template-file "$infra/security-account.yaml" \
    --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset --parameter-overrides \
    "Prefix=$PREFIX" "OrganizationId=$ORGANIZATION_ID" "ExternalId=$EXTERNAL_ID" "SlackChannel=$SLACK_CHANNEL" \
    "SlackSecretName=$SLACK_SECRET_NAME" "AlarmEmail=$ALARM_EMAIL" "CodeBucket=$PACKAGES_BUCKET" \
    "WatcherPackage=functions/$watcher" "SweeperPackage=functions/$sweeper" "Architecture=$ARCHITECTURE" \
    "SweepHours=$SWEEP_HOURS" "SweepConcurrency=$SWEEP_CONCURRENCY" "Accounts=$ACCOUNTS" \
    "IncludeAccounts=$INCLUDE_ACCOUNTS" "ExcludeAccounts=$EXCLUDE_ACCOUNTS" "AccountNames=$ACCOUNT_NAMES" \
    "FailedAttempts=$FAILED_ATTEMPTS" "LogLevel=$LOG_LEVEL" "LogRetentionDays=$LOG_RETENTION_DAYS"
  say "4. the organization's stack (two minutes, and about one for each ten accounts)"
  change in_organization cloudformation deploy --stack-name "$PREFIX-organization" \
    --template-file "$infra/organization.yaml" \
    --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset --parameter-overrides \
    "Prefix=$PREFIX" "CallAs=$call_as" "MemberTemplateUrl=https://$PACKAGES_BUCKET.s3.$REGION.amazonaws.com/$template" \
    "EnforcedTemplateUrl=https://$PACKAGES_BUCKET.s3.$REGION.amazonaws.com/$enforced" \
    "OrganizationalUnitIds=$ORGANIZATIONAL_UNIT_IDS" "EnforcedAccountIds=$ENFORCED_ACCOUNT_IDS" \
    "DisablerInManagementAccount=$DISABLER_IN_MANAGEMENT_ACCOUNT" "SecurityAccountId=$SECURITY_ACCOUNT_ID" \
    "OrganizationId=$ORGANIZATION_ID" "ExternalId=$EXTERNAL_ID" "Operators=$OPERATORS"
  [[ -z ${DRY:-} ]] || { say "Nothing was done."; return; }
  say "keytide is deployed."
  what_remains "$template"
}

in_management_account() {
  [[ $DISABLER_IN_MANAGEMENT_ACCOUNT == absent ]] || printf ', and the management account'
}

# What no command here can do, and what did not go well everywhere: a StackSet leaves out an account that fails.
what_remains() {
  say "By hand there remains:"
  local topic="arn:aws:sns:$REGION:$SECURITY_ACCOUNT_ID:$PREFIX-alarms"
  if ! ask in_security sns list-subscriptions-by-topic --topic-arn "$topic" \
    --query 'Subscriptions[].SubscriptionArn' || [[ $answer != arn:* || $answer == *PendingConfirmation* ]]; then
    say "- $ALARM_EMAIL has to confirm the e-mail from AWS; until then no alarm reaches anybody"
  fi
  local set
  for set in member ${ENFORCED_ACCOUNT_IDS:+enforced}; do
    if ask in_organization cloudformation list-stack-instances --stack-set-name "$PREFIX-$set" --call-as "$call_as" \
      --query "Summaries[?Status!='CURRENT'].Account"; then
      [[ -z $answer || $answer == None ]] || say "- accounts without keytide's part, or with an old one: \
${answer//[[:space:]]/, }: see the StackSet $PREFIX-$set for why"
    else
      say "- see by the StackSet $PREFIX-$set that every account has its part: $refusal"
    fi
  done
  if [[ $call_as == DELEGATED_ADMIN ]]; then
    say "- the management account $management_account, which no StackSet reaches, needs member-account.yaml, with its own"
    say "  credentials: aws$(printf ' %q' --region "$REGION" cloudformation deploy --stack-name "$PREFIX-member" \
      --template-file infra/member-account.yaml --capabilities CAPABILITY_NAMED_IAM --parameter-overrides \
      "Prefix=$PREFIX" "SecurityAccountId=$SECURITY_ACCOUNT_ID" "OrganizationId=$ORGANIZATION_ID" \
      "ExternalId=$EXTERNAL_ID" "Operators=$OPERATORS")"
    say "  and enforced-account.yaml by itself before it enters enforce (infra/DEPLOY.md, \"Deploy\", 6)"
  fi
  say "- the roll-out: infra/DEPLOY.md goes on from here. The alarm $PREFIX-sweep-overdue is on until the first sweep ends"
}

# --- Destroy ----------------------------------------------------------------------------------------------------------

destroy() {
  check_credentials
  stop_at_problems
  local organization security
  read_status in_organization "$PREFIX-organization" && organization=$status
  read_status in_security "$PREFIX" && security=$status
  ! is_whole "$organization" || check_enforcement
  [[ -z $security ]] || check_detached
  stop_at_problems
  if [[ -z $organization && -z $security ]]; then
    say "There is neither a stack $PREFIX-organization nor a stack $PREFIX: nothing is left to do."
    return
  fi
  say "keytide will, in $REGION,"
  say "1. delete the stack $PREFIX-organization in account $ORGANIZATION_ACCOUNT_ID, and with it the rules and roles in"
  say "   every account: from then on nobody hears of new keys;"
  say "2. delete the stack $PREFIX in account $SECURITY_ACCOUNT_ID: functions, alarms, and the queues with what waits in them."
  say "There stay, in account $SECURITY_ACCOUNT_ID: the ledger ($PREFIX-ledger), the logs (/aws/lambda/$PREFIX-…), the bucket"
  say "$PACKAGES_BUCKET, and the secret $SLACK_SECRET_NAME. Service control policies are yours to detach."
  confirm
  local step
  for step in "in_organization $PREFIX-organization" "in_security $PREFIX"; do
    say "the stack ${step#* }"
    # Of a stack that is not there both commands are content.
    change "${step% *}" cloudformation delete-stack --stack-name "${step#* }"
    change "${step% *}" cloudformation wait stack-delete-complete --stack-name "${step#* }"
  done
  [[ -z ${DRY:-} ]] || { say "Nothing was done."; return; }
  say "keytide is gone; the ledger, the logs, the packages and the secret stay."
  [[ $call_as == SELF ]] ||
    say "In the management account $management_account, delete what was deployed by hand: the stacks $PREFIX-enforced and \
$PREFIX-member, in that order."
}

# --- Asking -----------------------------------------------------------------------------------------------------------

confirm() {
  [[ -n ${DRY:-} || ${YES:-} == 1 ]] && return
  local typed
  printf 'Type the security account'"'"'s id to go on: '
  read -r typed || typed=
  [[ $typed == "$SECURITY_ACCOUNT_ID" ]] || stop "nothing was done: expected $SECURITY_ACCOUNT_ID, or YES=1"
}

main() {
  case ${1:-} in
    deploy | destroy) ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"; [[ ${1:-} == --help ]] && exit; exit 2 ;;
  esac
  command -v aws >/dev/null || stop "the AWS CLI is not on the PATH: expected \`aws\`"
  [[ -e $deployment ]] || stop "$deployment is not there: copy deployment.env.example to it and fill it in"
  read_settings "$infra/deployment.env.example"
  read_settings "$deployment"
  check_settings
  [[ $1 == destroy ]] && stop_at_problems
  "$1"
}

main "$@"
