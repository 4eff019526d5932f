module doppelspan.example/telemetrygen

go 1.25.0

require github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen v0.155.0
