"""The models that agents think with: scripted, Anthropic, OpenAI-compatible. One interface (`base`)."""
