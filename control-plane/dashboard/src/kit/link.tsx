// A link to a screen, whose address the compiler checks.
import { Anchor, type AnchorProps } from "@mantine/core";
import { createLink, type LinkComponent } from "@tanstack/react-router";
import type { AnchorHTMLAttributes, Ref } from "react";

type Props = Omit<AnchorProps, "ref"> &
  Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "color"> & { ref?: Ref<HTMLAnchorElement> };

function Text({ ref, ...props }: Props) {
  return <Anchor {...(ref && { ref })} {...props} />;
}

export const ScreenLink: LinkComponent<typeof Text> = createLink(Text);
