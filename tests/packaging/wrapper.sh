#!/bin/sh
# datadog_wrapper of the layer: wrapper.sh FILE. Run as root in files of its own, as it looks into /opt.
# shellcheck disable=SC1090,SC1091 # given by the caller
. "$(dirname "$0")/busybox/lib.sh"

wrapper=$1
mount -t tmpfs opt /opt
# What is started prints each argument and the variables of tracers, one a line.
show=/opt/show
# shellcheck disable=SC2016 # for the script that is written
printf '#!/bin/sh\nfor word; do echo "argument $word"; done\nenv | grep -E "^(DD_|CORECLR_)" | sort\n' >$show
chmod 755 $show

# starts RUNTIME ARGUMENTS...
starts() {
    runtime=$1
    shift
    env -i PATH="$PATH" AWS_EXECUTION_ENV="AWS_Lambda_$runtime" ${set:+"$set"} "$wrapper" $show "$@"
}
set=

expect "Python is started as it comes" same "argument a  b
argument -c" "$(starts python3.13 'a  b' -c)"
expect "so is Java without its tracer" same "argument -XX:-TieredCompilation
argument Main" "$(starts java21 -XX:-TieredCompilation Main)"
expect "and .NET" same "argument Main" "$(starts dotnet8 Main)"

mkdir -p /opt/java/lib && touch /opt/java/lib/dd-java-agent.jar
expect "Java gets its tracer first" same "argument -javaagent:/opt/java/lib/dd-java-agent.jar
argument -XX:TieredStopAtLevel=1
argument -cp
argument a b
argument Main
DD_APPSEC_ENABLED=false
DD_JMXFETCH_ENABLED=false
DD_REMOTE_CONFIG_ENABLED=false
DD_RUNTIME_METRICS_ENABLED=false" "$(starts java21 -XX:-TieredCompilation -cp 'a b' Main)"
set=DD_JMXFETCH_ENABLED=true
expect "what the user set stays" holds "DD_JMXFETCH_ENABLED=true" "$(starts java21 Main)"
set=

mkdir -p /opt/datadog/linux-x64 /opt/datadog/linux-arm64
touch /opt/datadog/linux-x64/Datadog.Tracer.Native.so /opt/datadog/linux-arm64/Datadog.Tracer.Native.so \
    /opt/datadog/linux-arm64/Datadog.Trace.ClrProfiler.Native.so
expect ".NET gets its tracer" same "argument Main
CORECLR_ENABLE_PROFILING=1
CORECLR_PROFILER={846F5F1C-F9AE-4B07-969E-05C26BC060D8}
CORECLR_PROFILER_PATH_64=/opt/datadog/linux-x64/Datadog.Tracer.Native.so
CORECLR_PROFILER_PATH_ARM64=/opt/datadog/linux-arm64/Datadog.Trace.ClrProfiler.Native.so
DD_APPSEC_ENABLED=false
DD_CIVISIBILITY_ENABLED=false
DD_DOTNET_TRACER_HOME=/opt/datadog
DD_INSTRUMENTATION_TELEMETRY_ENABLED=false
DD_PROFILING_ENABLED=false
DD_TRACE_STARTUP_LOGS=false" "$(starts dotnet8 Main)"
printf '#!/bin/sh\nexit 7\n' >$show
expect_code 7 "the exit code is the program's" starts python3.13

finish_test
