// A button that opens a dialog: a form, or a question before something is done.
import { Button, Group, Stack, Text, type ButtonProps } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { WentWrong } from "./change";
import { Window } from "./window";

export function Dialog({
  label,
  title,
  button,
  children,
}: {
  label: string;
  title?: string;
  button?: ButtonProps;
  children: (close: () => void) => ReactNode;
}) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button {...button} onClick={() => setOpen(true)}>
        {label}
      </Button>
      <Window opened={open} onClose={() => setOpen(false)} title={title ?? label}>
        {open && children(() => setOpen(false))}
      </Window>
    </>
  );
}

/** A form with its buttons and what went wrong. */
export function Form({
  onSubmit,
  busy,
  error,
  submit,
  danger = "calm",
  children,
}: {
  onSubmit: () => void;
  busy: boolean;
  error: Error | null;
  submit: string;
  danger?: "calm" | "danger";
  children: ReactNode;
}) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit();
      }}
    >
      <Stack>
        {children}
        <WentWrong error={error} />
        <Group justify="flex-end">
          <Button type="submit" loading={busy} {...(danger === "danger" && { color: "red" })}>
            {submit}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** Asks before it is done. */
export function Sure({
  label,
  question,
  change,
  button,
}: {
  label: string;
  question: string;
  change: {
    mutate: (value: undefined, options: { onSuccess: () => void }) => void;
    isPending: boolean;
    error: Error | null;
  };
  button?: ButtonProps;
}) {
  return (
    <Dialog label={label} button={{ variant: "default", size: "xs", ...button }}>
      {(close) => (
        <Form
          onSubmit={() => change.mutate(undefined, { onSuccess: close })}
          busy={change.isPending}
          error={change.error}
          submit={label}
          danger="danger"
        >
          <Text size="sm">{question}</Text>
        </Form>
      )}
    </Dialog>
  );
}
