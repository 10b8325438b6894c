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
set -euo pipefail

# IAM's events are in this region and nowhere else, whatever a profile says.
readonly REGION=us-east-1
infra=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly infra
readonly deployment=${DEPLOYMENT:-$infra/deployment.env} packages=${PACKAGES:-$infra/../target/package}
# Nothing waits for a key on a pager, or for one more try of what was refused.
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

# --- Settings ---------------------------------------------------------------------------------------------------------

# Lines of NAME=value; the example knows every name, and its values are the defaults.
read_settings() {
  local file=$1 number=0 line name
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%"${line##*[![:space:]]}"}
    [[ -z $line || $line == "#"* ]] && continue
    name=${line%%=*}
    if [[ $line != *=* ]] || ! grep -q "^$name=" "$infra/deployment.env.example"; then
      problem "$file, line $number: no such setting: ${line:0:60}; deployment.env.example has them all"
    else
      printf -v "$name" '%s' "${line#*=}"
    fi
  done <"$file"
}

# A setting that does not look as it has to is better found here than by the second of two stacks.
expect() {
  local name=$1 pattern=$2 expected=$3
  [[ ${!name} =~ ^($pattern)$ ]] && return
  if [[ -z ${!name} ]]; then problem "$name is not set: expected $expected"
  else problem "$name is ${!name}: expected $expected"; fi
}

check_settings() {
  local account='[0-9]{12}' hour='([01]?[0-9]|2[0-3])'
  local some="($account(,$account)*)?"
  expect SECURITY_ACCOUNT_ID "$account" "an account id of twelve digits"
  expect ORGANIZATION_ACCOUNT_ID "$account" "an account id of twelve digits"
  expect ORGANIZATION_ID 'o-[a-z0-9]{10,32}' "an organization's id such as o-a1b2c3d4e5"
  expect ORGANIZATIONAL_UNIT_IDS '(r-[a-z0-9]{4,32}|ou-[a-z0-9-]+)(,(r-[a-z0-9]{4,32}|ou-[a-z0-9-]+))*' \
    "the organization's root (r-…) or units (ou-…), by commas"
  expect SLACK_CHANNEL '[CG][A-Z0-9]{5,20}' "a channel's id such as C0123456789"
  expect SLACK_SECRET_NAME '[A-Za-z0-9/_+=.@-]+' "a secret's name"
  expect ALARM_EMAIL '[^@ ]+@[^@ ]+' "an e-mail address"
  expect EXTERNAL_ID '[A-Za-z0-9_+=,.@:/-]{2,}' "two characters or more that nobody else uses; uuidgen makes a good one"
  expect PREFIX '[a-z][a-z0-9-]{1,30}[a-z0-9]' "3 to 32 small letters, digits and hyphens"
  expect ENFORCED_ACCOUNT_IDS "$some" "account ids, by commas"
  expect DISABLER_IN_MANAGEMENT_ACCOUNT 'absent|present' "absent or present"
  expect ACCOUNTS "$some" "account ids, by commas"
  expect INCLUDE_ACCOUNTS "$some" "account ids, by commas"
  expect EXCLUDE_ACCOUNTS "$some" "account ids, by commas"
  expect ACCOUNT_NAMES "($account=[^,=]+(,$account=[^,=]+)*)?" "names such as 111122223333=prod, by commas"
  expect FAILED_ATTEMPTS 'never|root-and-others|always' "never, root-and-others or always"
  expect ARCHITECTURE 'arm64|x86_64' "arm64 or x86_64"
  expect SWEEP_HOURS "$hour,$hour" "two hours of the day such as 6,9"
  expect SWEEP_CONCURRENCY '[2-9]|[1-9][0-9]|100' "a number from 2 to 100"
  expect LOG_LEVEL 'info|warn|error' "info, warn or error"
  expect LOG_RETENTION_DAYS '30|90|180|365|400|731' "30, 90, 180, 365, 400 or 731"
  : "${PACKAGES_BUCKET:=$PREFIX-packages-${SECURITY_ACCOUNT_ID:-000000000000}}"
  expect PACKAGES_BUCKET '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' "a bucket's name"
}

# --- AWS --------------------------------------------------------------------------------------------------------------

in_security() { aws --region "$REGION" ${SECURITY_PROFILE:+--profile "$SECURITY_PROFILE"} "$@"; }
in_organization() { aws --region "$REGION" ${ORGANIZATION_PROFILE:+--profile "$ORGANIZATION_PROFILE"} "$@"; }

# Runs what changes something, or says what it would be.
change() {
  if [[ -z ${DRY:-} ]]; then "$@" >/dev/null; return; fi
  local profile=$SECURITY_PROFILE
  [[ $1 == in_organization ]] && profile=$ORGANIZATION_PROFILE
  printf '  would run: aws --region %s' "$REGION${profile:+ --profile $profile}"
  printf ' %q' "${@:2}"
  printf '\n'
}

# Asks AWS. `answer` is what it said; without success, `refusal` is why, on one line.
ask() {
  local errors
  errors=$(mktemp)
  if answer=$("$@" --output text 2>"$errors"); then refusal=
  else refusal=$(tr -s '\n ' ' ' <"$errors" | sed 's/^ //; s/ $//'); fi
  rm -f "$errors"
  [[ -z $refusal ]]
}

# Whose credentials these are. With another account's nothing more is asked, let alone done.
check_identity() {
  local where=$1 expected=$2 profile=$3
  local whose="the shell's credentials"
  [[ -z $profile ]] || whose="the credentials of profile $profile"
  if ! ask "$where" sts get-caller-identity --query Account; then
    problem "$whose are not good; expected account $expected's: $refusal"
  elif [[ $answer != "$expected" ]]; then
    problem "$whose are account $answer's; expected $expected"
  fi
}

# Sets `status`: the stack's, or nothing where there is none.
read_status() {
  status=
  if ask "$1" cloudformation describe-stacks --stack-name "$2" --query 'Stacks[0].StackStatus'; then status=$answer
  elif [[ $refusal != *"does not exist"* ]]; then problem "stack $2: $refusal"
  fi
  # A change set that nobody carried out is no stack yet.
  [[ $status != REVIEW_IN_PROGRESS ]] || status=
  [[ $status != *_IN_PROGRESS ]] || problem "stack $2 is being changed ($status): wait for its end, then try again"
}

check_updatable() {
  read_status "$1" "$2"
  case $status in
    ROLLBACK_COMPLETE | ROLLBACK_FAILED | DELETE_FAILED)
      problem "stack $2 could not be made or deleted ($status): see its events for why, then delete it (make destroy)" ;;
  esac
}

stack_parameter() {
  ask "$1" cloudformation describe-stacks --stack-name "$2" \
    --query "Stacks[0].Parameters[?ParameterKey=='$3'].ParameterValue" || problem "stack $2: $refusal"
}

readonly_checks() {
  check_identity in_security "$SECURITY_ACCOUNT_ID" "$SECURITY_PROFILE"
  check_identity in_organization "$ORGANIZATION_ACCOUNT_ID" "$ORGANIZATION_PROFILE"
  stop_at_problems
  if ! ask in_organization organizations describe-organization --query 'Organization.[Id,MasterAccountId]'; then
    problem "the organization cannot be read from account $ORGANIZATION_ACCOUNT_ID: $refusal"
    return
  fi
  local id management
  read -r id management <<<"$answer"
  [[ $id == "$ORGANIZATION_ID" ]] || problem "account $ORGANIZATION_ACCOUNT_ID is in organization $id; expected $ORGANIZATION_ID"
  management_account=$management call_as=DELEGATED_ADMIN
  if [[ $management == "$ORGANIZATION_ACCOUNT_ID" ]]; then call_as=SELF
  elif [[ $DISABLER_IN_MANAGEMENT_ACCOUNT == present ]]; then
    problem "DISABLER_IN_MANAGEMENT_ACCOUNT is present, and account $ORGANIZATION_ACCOUNT_ID is not the management account \
($management): deploy member-account.yaml there by hand"
  fi
}

# --- Deploy -----------------------------------------------------------------------------------------------------------

# The one package of a function, by its file's name.
find_package() {
  local found=("$packages/$1-$ARCHITECTURE"-*.zip)
  if [[ ! -e ${found[0]} ]]; then problem "there is no $1 for $ARCHITECTURE in $packages: make package first"
  elif ((${#found[@]} > 1)); then problem "there are ${#found[@]} of $1 for $ARCHITECTURE in $packages; expected one"
  fi
  found_package=${found[0]##*/}
}

digest() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

check_packages() {
  find_package keytide-watcher && watcher=$found_package
  find_package keytide-sweeper && sweeper=$found_package
  [[ -e $packages/SHA256SUMS ]] || return 0
  (cd "$packages" && digest --check SHA256SUMS) >/dev/null 2>&1 ||
    problem "a file in $packages is not the one that was packaged (SHA256SUMS): make package again"
}

check_before_deploy() {
  if ask in_security s3api head-bucket --bucket "$PACKAGES_BUCKET" --expected-bucket-owner "$SECURITY_ACCOUNT_ID"; then
    bucket_is_there="see to"
  elif [[ $refusal == *404* || $refusal == *"Not Found"* ]]; then bucket_is_there=
  else problem "bucket $PACKAGES_BUCKET: $refusal. Another account may have it: name another in PACKAGES_BUCKET"
  fi
  ask in_security secretsmanager describe-secret --secret-id "$SLACK_SECRET_NAME" --query Name ||
    problem "secret $SLACK_SECRET_NAME in account $SECURITY_ACCOUNT_ID: $refusal. Put the bot's token there: see DEPLOY.md"
  check_updatable in_security "$PREFIX"
  # What an earlier installation left, on purpose: a new one may not write over it, and CloudFormation would only say
  # so in the middle.
  if [[ -z $status ]]; then
    if ask in_security dynamodb describe-table --table-name "$PREFIX-ledger" --query Table.TableStatus; then
      problem "there is no stack $PREFIX, but its table $PREFIX-ledger is there, of an earlier installation: see DEPLOY.md, \
\"Come back\""
    fi
    if ask in_security logs describe-log-groups --log-group-name-prefix "/aws/lambda/$PREFIX-" \
      --query 'logGroups[].logGroupName' && [[ -n $answer && $answer != None ]]; then
      problem "there is no stack $PREFIX, but its logs are there, of an earlier installation: $answer: see DEPLOY.md, \
\"Come back\""
    fi
  fi
  check_updatable in_organization "$PREFIX-organization"
  if [[ $call_as == SELF ]]; then
    ask in_organization organizations list-aws-service-access-for-organization \
      --query "EnabledServicePrincipals[?ServicePrincipal=='member.org.stacksets.cloudformation.amazonaws.com'].ServicePrincipal" ||
      problem "whether StackSets may reach the organization's accounts: $refusal"
    [[ -n $refusal || -n $answer && $answer != None ]] ||
      problem "StackSets may not reach the organization's accounts: run aws cloudformation activate-organizations-access \
in account $ORGANIZATION_ACCOUNT_ID"
  fi
}

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

# Names come from contents, so what is there is what would be uploaded.
upload() {
  local file=$1 key=$2
  local ours=(--bucket "$PACKAGES_BUCKET" --key "$key" --expected-bucket-owner "$SECURITY_ACCOUNT_ID")
  if ask in_security s3api head-object "${ours[@]}"; then say "  $key is there already"; return; fi
  change in_security s3api put-object "${ours[@]}" --body "$file"
}

deploy() {
  check_packages
  stop_at_problems
  readonly_checks
  stop_at_problems
  check_before_deploy
  stop_at_problems
  local template
  template=templates/member-account-$(digest "$infra/member-account.yaml" | cut -c 1-12).yaml
  say "keytide will, in $REGION,"
  say "1. ${bucket_is_there:-make} the bucket $PACKAGES_BUCKET in account $SECURITY_ACCOUNT_ID: private, versioned, encrypted;"
  say "2. put $watcher, $sweeper and the members' template into it;"
  say "3. deploy the stack $PREFIX in account $SECURITY_ACCOUNT_ID: bus, queues, ledger, both functions, alarms to $ALARM_EMAIL;"
  say "4. deploy the stack $PREFIX-organization in account $ORGANIZATION_ACCOUNT_ID, which puts rules and roles into every"
  say "   account below $ORGANIZATIONAL_UNIT_IDS, those that join later among them."
  say "The role that disables will be in: ${ENFORCED_ACCOUNT_IDS:-no account}$(in_management_account)."
  confirm

  say "1. the bucket" && make_bucket
  say "2. the packages"
  upload "$packages/$watcher" "functions/$watcher"
  upload "$packages/$sweeper" "functions/$sweeper"
  upload "$infra/member-account.yaml" "$template"
  say "3. the security account's stack (some minutes)"
  change in_security cloudformation deploy --stack-name "$PREFIX" --template-file "$infra/security-account.yaml" \
    --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset --parameter-overrides \
    "Prefix=$PREFIX" "OrganizationId=$ORGANIZATION_ID" "ExternalId=$EXTERNAL_ID" "SlackChannel=$SLACK_CHANNEL" \
    "SlackSecretName=$SLACK_SECRET_NAME" "AlarmEmail=$ALARM_EMAIL" "CodeBucket=$PACKAGES_BUCKET" \
    "WatcherPackage=functions/$watcher" "SweeperPackage=functions/$sweeper" "Architecture=$ARCHITECTURE" \
    "SweepHours=$SWEEP_HOURS" "SweepConcurrency=$SWEEP_CONCURRENCY" "Accounts=$ACCOUNTS" \
    "IncludeAccounts=$INCLUDE_ACCOUNTS" "ExcludeAccounts=$EXCLUDE_ACCOUNTS" "AccountNames=$ACCOUNT_NAMES" \
    "FailedAttempts=$FAILED_ATTEMPTS" "LogLevel=$LOG_LEVEL" "LogRetentionDays=$LOG_RETENTION_DAYS"
  say "4. the organization's stack (minutes to an hour, by the number of accounts)"
  change in_organization cloudformation deploy --stack-name "$PREFIX-organization" \
    --template-file "$infra/organization.yaml" \
    --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset --parameter-overrides \
    "Prefix=$PREFIX" "CallAs=$call_as" "MemberTemplateUrl=https://$PACKAGES_BUCKET.s3.$REGION.amazonaws.com/$template" \
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
    --query 'Subscriptions[].SubscriptionArn' || [[ $answer != arn:*  || $answer == *PendingConfirmation* ]]; then
    say "- $ALARM_EMAIL has to confirm the e-mail from AWS; until then no alarm reaches anybody"
  fi
  if ask in_organization cloudformation list-stack-instances --stack-set-name "$PREFIX-member" --call-as "$call_as" \
    --query "Summaries[?Status!='CURRENT'].Account" ; then
    [[ -z $answer || $answer == None ]] || say "- accounts without keytide's part, or with an old one: $answer: see the \
StackSet $PREFIX-member for why"
  else
    say "- see by the StackSet $PREFIX-member that every account has its part: $refusal"
  fi
  if [[ $call_as == DELEGATED_ADMIN ]]; then
    say "- the management account $management_account, which no StackSet reaches, needs member-account.yaml, with its own"
    say "  credentials: aws --region $REGION cloudformation deploy --stack-name $PREFIX-member --template-file \
infra/member-account.yaml --capabilities CAPABILITY_NAMED_IAM --parameter-overrides Prefix=$PREFIX \
SecurityAccountId=$SECURITY_ACCOUNT_ID OrganizationId=$ORGANIZATION_ID ExternalId=$EXTERNAL_ID Operators=$OPERATORS"
  fi
  say "- the roll-out: infra/DEPLOY.md goes on from here. The alarm $PREFIX-sweep-overdue is on until the first sweep ends"
}

# --- Destroy ----------------------------------------------------------------------------------------------------------

destroy() {
  readonly_checks
  stop_at_problems
  local organization security
  read_status in_organization "$PREFIX-organization" && organization=$status
  read_status in_security "$PREFIX" && security=$status
  # Who takes enforcement away says so first where everybody sees it: by a policy, which the channel is told. It also
  # keeps a sweep from losing its role in the middle of a disable.
  if [[ -n $organization ]]; then
    stack_parameter in_organization "$PREFIX-organization" EnforcedAccountIds
    [[ ! $answer =~ [0-9]{12} ]] || problem "the role that disables is still in $answer: take it away first (DEPLOY.md, \"Go back\")"
    stack_parameter in_organization "$PREFIX-organization" DisablerInManagementAccount
    [[ $answer != present ]] ||
      problem "the role that disables is still in the management account: take it away first (DEPLOY.md, \"Go back\")"
  fi
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
    say "In the management account $management_account, delete by hand what was deployed by hand: the stack $PREFIX-member."
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
